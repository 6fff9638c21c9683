"""Real sentence-transformers models of some thousand parameters with random weights, as folders, of several makes."""

import json
from pathlib import Path
from typing import Any

WORDS = ("iron", "gold", "the", "symbol", "of", "is", "what", "leave", "days", "how", "many", "handbook", "query",
         "passage", "find", ":", "?", ".", ",", "-", "a", "x", "p", "0", "1", "4", "7")  # fmt: skip
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
LENGTHS = {"max_position_embeddings": 80}


def make_tokenizer(folder: Path, max_length: int, padding_side: str = "right", **special: Any) -> int:
    """A fast tokenizer of words, `[CLS]` before and `[SEP]` behind; gives the size of its vocabulary."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    letters = [chr(code) for code in range(97, 123)]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, *(f"##{letter}" for letter in letters), *letters]
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=max_length, padding_side=padding_side, pad_token="[PAD]",
        unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", **special,
    ).save_pretrained(folder)  # fmt: skip
    return len(vocabulary)


def configs(make: str, num_words: int) -> Any:
    """A transformer of a make that embedding models are built on."""
    import transformers as t

    vocabulary = {"vocab_size": num_words, "pad_token_id": 0}
    made = {
        "bert": lambda: t.BertConfig(**vocabulary, **SMALL, **LENGTHS),
        "roberta": lambda: t.RobertaConfig(**vocabulary, **SMALL, **LENGTHS),
        "mpnet": lambda: t.MPNetConfig(**vocabulary, **SMALL, **LENGTHS),
        "distilbert": lambda: t.DistilBertConfig(
            **vocabulary, dim=32, n_layers=2, n_heads=4, hidden_dim=48, **LENGTHS
        ),
        "electra": lambda: t.ElectraConfig(**vocabulary, embedding_size=16, **SMALL, **LENGTHS),
        "albert": lambda: t.AlbertConfig(**vocabulary, embedding_size=16, **SMALL, **LENGTHS),
        "modernbert": lambda: t.ModernBertConfig(
            **vocabulary, **SMALL, **LENGTHS, local_attention=16, cls_token_id=2, sep_token_id=3, bos_token_id=2,
            eos_token_id=3,
        ),
        "qwen3": lambda: t.Qwen3Config(
            **vocabulary, **SMALL, **LENGTHS, num_key_value_heads=2, head_dim=8, bos_token_id=2, eos_token_id=3
        ),
        "t5": lambda: t.T5Config(**vocabulary, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4),
    }  # fmt: skip
    return made[make]()


MAKES = ("bert", "roberta", "mpnet", "distilbert", "electra", "albert", "modernbert", "qwen3", "t5")


def save(
    folder: Path,
    make: str = "bert",
    pooling: str | tuple[str, ...] = "mean",
    *,
    max_length: int = 64,
    padding_side: str = "right",
    dtype: str = "float32",
    normalize: bool = False,
    dense: int | None = None,
    include_prompt: bool = True,
    prompts: dict[str, str] | None = None,
) -> Path:
    """A model with these modules, saved as sentence-transformers saves one."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer
    from transformers import AutoModel

    inner = folder / "inner"
    torch.manual_seed(0)
    config = configs(make, make_tokenizer(inner, max_length, padding_side))
    model = AutoModel.from_config(config)
    for parameter in model.parameters():  # their own start is so small that all texts would be alike
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    model.to(getattr(torch, dtype)).save_pretrained(inner)
    transformer = Transformer(str(inner))
    transformer.max_seq_length = max_length
    pooled = Pooling(transformer.get_embedding_dimension(), pooling, include_prompt=include_prompt)
    modules: list[Any] = [transformer, pooled]
    if dense:
        modules.append(Dense(pooled.get_embedding_dimension(), dense))
    if normalize:
        modules.append(Normalize())
    SentenceTransformer(modules=modules, prompts=prompts, device="cpu").save(str(folder / "model"))
    return folder / "model"


def modules_of(folder: Path) -> list[str]:
    """The types of a saved model's modules."""
    return [each["type"].split(".")[-1] for each in json.loads((folder / "modules.json").read_text())]

"""Refusals are read in the words that models use, and an answer beside them is seen."""

from itertools import product
from time import monotonic

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.grading.grading import grade
from evaluation.grading.refusal_words import languages
from evaluation.grading.refusals import Refusal, read_refusal
from evaluation.questions.question import Question

# By language: a question, apologies, refusals, pointers, and beginnings that a value follows.
FRAMES: dict[str, tuple[str, list[str], list[str], list[str], list[str]]] = {
    "en": (
        "Who chairs the board of Norvik?",
        ["", "I'm sorry, but ", "Unfortunately, ", "I apologize, but ", "Sorry — "],
        [
            "I don't know", "I do not know who chairs the board of Norvik", "I'm not sure who that is",
            "I have no idea",
            "I cannot answer that from the passages", "I couldn't find that in the documents",
            "I don't have access to that information", "the passages do not mention it", "the text doesn't say",
            "none of the documents names the chair", "the context doesn't cover this", "it is not stated",
            "there is no information about the board", "that is beyond the scope of the provided documents",
            "the question cannot be answered from the given context", "it is unclear from the passages",
        ],
        ["", ". Please check the company website", ". They only mention the products [1]", ". Let me know if you"],
        ["I do not know, but it is ", "I'm not sure, maybe ", "The passages don't say, but I believe it is "],
    ),
    "de": (
        "Wer leitet den Vorstand von Norvik?",
        ["", "Es tut mir leid, aber ", "Leider: "],
        [
            "ich weiß es nicht", "dazu habe ich keine Informationen", "das steht nicht in den Dokumenten",
            "der Text nennt ihn nicht", "die Passagen enthalten keine Angaben dazu", "das ist nicht bekannt",
            "ich kann diese Frage nicht beantworten",
        ],
        ["", ". Bitte schauen Sie auf der Website nach", ". Sie beschreiben nur die Produkte"],
        ["Ich weiß es nicht, aber es ist ", "Ich bin nicht sicher, vermutlich "],
    ),
    "fr": (
        "Qui dirige le conseil de Norvik ?",
        ["", "Je suis désolé, mais ", "Malheureusement, "],
        [
            "je ne sais pas", "je n'ai pas cette information", "les documents ne le précisent pas",
            "le texte ne mentionne pas son nom", "ce n'est pas indiqué dans les passages",
            "je ne peux pas répondre à cette question", "aucune information n'est fournie",
        ],
        ["", ". Veuillez consulter le site de l'entreprise", ". Ils ne mentionnent que les produits"],
        ["Je ne sais pas, mais c'est ", "Je ne suis pas sûr, peut-être "],
    ),
    "es": (
        "¿Quién preside el consejo de Norvik?",
        ["", "Lo siento, pero ", "Lamentablemente, "],
        [
            "no lo sé", "no tengo esa información", "los documentos no lo mencionan", "el texto no dice quién es",
            "no se menciona en los pasajes", "no puedo responder a esa pregunta", "no hay información al respecto",
        ],
        ["", ". Por favor, consulte la página web", ". Solo mencionan los productos"],
        ["No lo sé, pero es ", "No estoy seguro, quizás "],
    ),
    "pt": (
        "Quem preside o conselho da Norvik?",
        ["", "Desculpe, mas ", "Infelizmente, "],
        [
            "não sei", "não tenho essa informação", "os documentos não mencionam isso", "o texto não diz quem é",
            "não posso responder a essa pergunta", "não há informações sobre isso nos documentos",
        ],
        ["", ". Por favor, consulte o site da empresa"],
        ["Não sei, mas é ", "Não tenho certeza, talvez "],
    ),
    "it": (
        "Chi presiede il consiglio di Norvik?",
        ["", "Mi dispiace, ma ", "Purtroppo "],
        [
            "non lo so", "non ho questa informazione", "i documenti non lo dicono", "il testo non menziona il suo nome",
            "non posso rispondere a questa domanda", "non ci sono informazioni nei documenti",
        ],
        ["", ". Si prega di consultare il sito"],
        ["Non lo so, ma è ", "Non sono sicuro, forse "],
    ),
    "nl": (
        "Wie leidt het bestuur van Norvik?",
        ["", "Het spijt me, maar ", "Helaas, "],
        ["ik weet het niet", "dat staat niet in de documenten", "de tekst zegt het niet", "er is geen informatie over"],
        ["", ". Raadpleeg de website van het bedrijf"],
        ["Ik weet het niet, maar het is ", "Ik ben niet zeker, misschien "],
    ),
    "pl": (
        "Kto kieruje zarządem Norvik?",
        ["", "Przepraszam, ale ", "Niestety, "],
        ["nie wiem", "nie mam takich informacji", "dokumenty tego nie podają", "tekst o tym nie wspomina"],
        ["", ". Proszę sprawdzić stronę firmy"],
        ["Nie wiem, ale to ", "Nie jestem pewien, może "],
    ),
    "ru": (
        "Кто возглавляет совет Norvik?",
        ["", "Извините, но ", "К сожалению, "],
        [
            "я не знаю", "у меня нет этой информации", "в документах это не указано", "текст об этом не говорит",
            "я не могу ответить на этот вопрос",
        ],
        ["", ". Пожалуйста, обратитесь к сайту компании"],
        ["Не знаю, но это ", "Я не уверен, возможно, "],
    ),
    "tr": (
        "Norvik kurulunun başkanı kim?",
        ["", "Üzgünüm, ", "Maalesef "],
        ["bilmiyorum", "bu konuda bilgim yok", "belgelerde belirtilmemiştir", "bu soruyu cevaplayamıyorum"],
        ["", ". Lütfen şirketin web sitesini kontrol edin"],
        ["Bilmiyorum ama belki ", "Emin değilim, belki "],
    ),
    "id": (
        "Siapa ketua dewan Norvik?",
        ["", "Maaf, ", "Sayangnya, "],
        ["saya tidak tahu", "saya tidak memiliki informasi itu", "dokumen tidak menyebutkannya", "tidak disebutkan"],
        ["", ". Silakan periksa situs web perusahaan"],
        ["Saya tidak tahu, tetapi mungkin ", "Tidak disebutkan, tapi saya kira "],
    ),
    "vi": (
        "Ai là chủ tịch của Norvik?",
        ["", "Xin lỗi, ", "Rất tiếc, "],
        ["tôi không biết", "tôi không có thông tin này", "tài liệu không đề cập đến điều đó"],
        ["", ". Vui lòng kiểm tra trang web của công ty"],
        ["Tôi không biết, nhưng có lẽ là "],
    ),
    "hi": (
        "Norvik के अध्यक्ष कौन हैं?",
        ["", "क्षमा करें, ", "मुझे खेद है, लेकिन "],
        ["मुझे नहीं पता", "मुझे इसकी जानकारी नहीं है", "दस्तावेज़ों में इसका उल्लेख नहीं है"],
        ["", "। कृपया वेबसाइट देखें"],
        ["मुझे नहीं पता, लेकिन शायद "],
    ),
    "ar": (
        "من يرأس مجلس إدارة نورفيك؟",
        ["", "عذرًا، ", "آسف، لكن "],
        ["لا أعرف", "ليس لدي هذه المعلومات", "النص لا يذكر ذلك", "لا تحتوي الوثائق على هذه المعلومات"],
        ["", ". يرجى مراجعة موقع الشركة"],
        ["لا أعرف، لكن ربما "],
    ),
    "zh": (
        "Norvik的董事长是谁？",
        ["", "抱歉，", "很抱歉，"],
        ["我不知道", "我没有相关信息", "文档中没有提到", "无法根据上下文确定", "我无法回答这个问题"],
        ["", "。请查看公司网站"],
        ["我不知道，但可能是", "我不确定，应该是"],
    ),
    "ja": (
        "Norvikの会長は誰ですか？",
        ["", "申し訳ありませんが、", "すみません、"],
        ["わかりません", "その情報はありません", "文書には記載されていません", "この質問にはお答えできません"],
        ["", "。会社のウェブサイトをご確認ください"],
        ["わかりませんが、おそらく"],
    ),
    "ko": (
        "Norvik의 회장은 누구입니까?",
        ["", "죄송하지만 ", "죄송합니다. "],
        ["모르겠습니다", "해당 정보가 없습니다", "문서에 언급되어 있지 않습니다", "이 질문에 답변할 수 없습니다"],
        ["", ". 회사 웹사이트를 확인해 주세요"],
        ["확실하지 않지만 아마 "],
    ),
    "sv": (
        "Vem leder styrelsen för Norvik?",
        ["", "Tyvärr, "],
        ["jag vet inte", "det framgår inte av dokumenten", "texten nämner det inte"],
        [""],
        ["Jag vet inte, men kanske "],
    ),
    "cs": ("Kdo vede radu Norvik?", ["", "Bohužel "], ["nevím", "dokumenty to neuvádějí"], [""], ["Nevím, ale možná "]),
    "uk": ("Хто очолює раду Norvik?", ["", "На жаль, "], ["я не знаю", "у документах це не вказано"], [""], []),
    "el": ("Ποιος διευθύνει τη Norvik;", ["", "Δυστυχώς, "], ["δεν γνωρίζω", "το κείμενο δεν το αναφέρει"], [""], []),
    "fi": ("Kuka johtaa Norvikia?", ["", "Valitettavasti "], ["en tiedä", "asiakirjoissa sitä ei mainita"], [""], []),
    "ro": ("Cine conduce Norvik?", ["", "Din păcate, "], ["nu știu", "documentele nu menționează asta"], [""], []),
    "hu": ("Ki vezeti a Norvikot?", ["", "Sajnos "], ["nem tudom", "a dokumentumok ezt nem említik"], [""], []),
    "th": ("ใครคือประธานของ Norvik", ["", "ขออภัย "], ["ฉันไม่ทราบ", "เอกสารไม่ได้ระบุ"], [""], []),
    "he": ("מי עומד בראש נורוויק?", ["", "מצטער, "], ["אני לא יודע", "המסמכים לא מציינים זאת"], [""], []),
    "fa": ("رئیس نورویک کیست؟", ["", "متأسفم، "], ["نمی‌دانم", "در متن ذکر نشده است"], [""], []),
    "ur": ("نورویک کا سربراہ کون ہے؟", ["", "معذرت، "], ["مجھے نہیں معلوم", "دستاویز میں اس کا ذکر نہیں ہے"], [""], []),
    "bn": ("নরভিকের প্রধান কে?", ["", "দুঃখিত, "], ["আমি জানি না", "নথিতে এর উল্লেখ নেই"], [""], []),
}  # fmt: skip
VALUES = {
    "zh": "约翰·伯格", "ja": "ヨン・ベルグです", "ko": "욘 베르그입니다", "hi": "जॉन बर्ग", "ar": "جون بيرغ",
    "ru": "Йон Берг", "uk": "Йон Берг",
}  # fmt: skip


def test_every_language_of_the_table_has_frames() -> None:
    assert len(FRAMES) == len(languages())


@pytest.mark.parametrize("language", FRAMES)
def test_a_refusal_is_plain_with_an_apology_before_and_a_pointer_behind(language: str) -> None:
    question, apologies, refusals, pointers, _ = FRAMES[language]
    for apology, refusal, pointer in product(apologies, refusals, pointers):
        answer = apology + refusal + pointer + "."
        assert read_refusal(question, answer[0].upper() + answer[1:]) is Refusal.PLAIN, answer


@pytest.mark.parametrize("language", FRAMES)
def test_the_same_frames_with_a_value_are_no_refusals(language: str) -> None:
    question, apologies, _, pointers, beginnings = FRAMES[language]
    value = VALUES.get(language, "Jon Berg")
    for before, pointer in product([*beginnings, *apologies], pointers):
        answer = f"{before}{value}{pointer}."
        assert read_refusal(question, answer) in (Refusal.NONE, Refusal.CONTRADICTED), answer


CEO = "Who is the CEO of Foo?"


@pytest.mark.parametrize(
    "answer",
    [
        "Not mentioned.", "Unknown.", "N/A", "No idea.", "- Not specified", "**I don't know.**", "Answer: unknown",
        "I don't know 😕", "I don't know who that is.", "Nobody knows.", "Cannot be determined from the passages.",
        "As an AI language model, I don't have access to real-time information.",
        "I do not have information about the CEO of Foo. My knowledge was last updated in September 2021.",
        "The passages describe the products of Foo, but not its leadership.",
        "The documents only mention its CFO, Jane Doe; they do not name the CEO.",
        "The passages do not say who the CEO is. However, they mention that Foo was founded in 1999 by Jane Doe.",
        "The passages don't mention the CEO, founder, or owner of Foo.",
        "After reviewing the passages, I could not find the answer.", "I've looked, but found nothing about its CEO.",
        "I don't think the documents mention it.", "That isn't something I know.", "No, I don't know.",
        "The CEO may have changed, and I don't have current information.", "I dont know", "The answer is unknown.",
    ],
)  # fmt: skip
def test_other_refusals(answer: str) -> None:
    assert read_refusal(CEO, answer) is Refusal.PLAIN


@pytest.mark.parametrize(
    "answer",
    [
        "John Smith did not state his age.", "It is not stated, John Smith is.", "I don't know who but John Smith",
        "The CEO is John Smith, who does not know the details", "I don't know for sure, but it is John Smith",
        "The CEO, John Smith, has not disclosed his salary.", "Unknown to most people, John Smith is the CEO of Foo.",
        "If I had to guess, John Smith. The passages do not say.", "John Smith. The passages do not mention his age.",
        "I don't have current data, but as of 2023 the CEO of Foo was John Smith.", "None other than John Smith.",
        "The documents do not mention the CEO. Based on general knowledge, John Smith is the CEO of Foo.",
        "I can tell you that it's John Smith, though I don't have the page.",
        "I don't know the year. It is John Smith.",
    ],
)  # fmt: skip
def test_an_answer_that_mentions_not_knowing_is_no_refusal(answer: str) -> None:
    assert read_refusal(CEO, answer) in (Refusal.NONE, Refusal.CONTRADICTED)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Does the plan include support?", "According to the documentation, the plan does not include support."),
        ("Does the plan include support?", "The documentation states that the plan does not include support."),
        ("Does the plan include support?", "Support is not included in the plan."),
        ("Which setting can't be changed?", "The setting which can't be changed is timeout"),
        ("What is the capital of France?", "You cannot find a nicer city: the capital is Paris"),
        ("What is the capital of France?", "Without a doubt, it's Paris."),
        ("What information is collected?", "No personal information is collected."),
        ("Do you give discounts?", "We do not provide discounts."),
        ("In which town is the archive?", "I don't know the street, but the archive is in Leuven."),
        ("¿Incluye el plan soporte?", "El documento indica que el plan no incluye soporte."),
        ("Enthält der Tarif Support?", "Laut Dokumentation enthält der Tarif keinen Support."),
        ("プランにサポートは含まれますか？", "プランにサポートは含まれていません。"),
    ],
)
def test_a_denial_that_answers_is_no_refusal(question: str, answer: str) -> None:
    assert read_refusal(question, answer) not in (Refusal.PLAIN, Refusal.CONTRADICTED)


@pytest.mark.parametrize(
    ("question", "answer", "plain"),
    [
        ("How many seats does the hall have?", "The hall has 350 seats. The balcony's capacity is not known.", False),
        ("How many seats does the hall have?", "I would need the floor plan to answer that.", True),
        ("When was the bridge opened?", "Opening date: not stated.", True),
        ("When was the bridge opened?", "I do not have that date. The only date mentioned is 1911.", True),
        ("When was the bridge opened?", "Not in 1931 but in 1932.", False),
        ("Wie viele Sitze hat der Saal?", "Der Saal hat 350 Sitze; wann er gebaut wurde, ist nicht bekannt.", False),
        ("Сколько мест в зале?", "В зале 350 мест, но год постройки не указан.", False),
        ("홀에 좌석이 몇 개 있습니까?", "350석이지만 건설 연도는 나와 있지 않습니다.", False),
    ],
)
def test_numbers_beside_a_refusal(question: str, answer: str, plain: bool) -> None:
    assert (read_refusal(question, answer) is Refusal.PLAIN) is plain


def test_a_refusal_with_what_may_be_a_value_is_unclear() -> None:
    unknown = Question(id="q", slice="s", question=CEO, answerable=False)
    result = grade(unknown, "I do not know. Foo grew under Jane Doe in Ohio.")
    assert result.unclear and not result.correct
    assert not grade(unknown, "I do not know. It is Jane Doe.").unclear


@pytest.mark.parametrize(
    ("accepted", "answer", "right"),
    [
        ("no information available", "no information available", True),
        ("not included", "It is not included", True),
        ("not included", "I do not know", False),
        ("Paris", "I do not know.", False),
    ],
)
def test_an_accepted_value_may_sound_like_a_refusal(accepted: str, answer: str, right: bool) -> None:
    assert grade(Question(id="q", slice="s", question="What is it?", answers=(accepted,)), answer).correct is right


WORDS = st.sampled_from(
    ["not", "know", "the", "passages", "say", "I", ",", ".", "but", "is", "nicht", "不", "لا", "n't"]
)


@given(words=st.lists(WORDS, max_size=40))
@settings(deadline=None, max_examples=100)
def test_any_row_of_words_is_read_the_same_twice(words: list[str]) -> None:
    answer = " ".join(words)
    assert read_refusal(CEO, answer) is read_refusal(CEO, answer)


@pytest.mark.parametrize("piece", ["not ", "I do not ", "a", "不", "文档", "the passages ", "n't", "não", "않", "{"])
def test_a_hostile_answer_is_read_in_bounded_time(piece: str) -> None:
    read_refusal(CEO, piece)
    start = monotonic()
    read_refusal(CEO, piece * 50_000)
    assert monotonic() - start < 5


@pytest.mark.parametrize(
    "answer",
    [
        "I'm drawing a blank there.",
        "I have nothing on that.",
        "I would only be guessing.",
        "Any figure would be speculation.",
        "My search came back empty.",
        "I'll have to pass on that.",
        "The age of the captain never comes up.",
        "The text stops short of giving it.",
        "Age: not given",
        "I do not see an age mentioned.",
        "Da muss ich leider passen.",
    ],
)
def test_a_refusal_is_read_by_how_it_is_built(answer: str) -> None:
    assert read_refusal("How old was the captain?", answer) is Refusal.PLAIN

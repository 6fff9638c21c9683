from training.plan.environment import worker_environment


def test_gpus_get_segments_that_grow() -> None:
    assert worker_environment("gpu") == {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}


def test_a_setting_of_the_user_is_kept() -> None:
    for name in ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"):
        assert worker_environment("gpu", {name: "max_split_size_mb:128"}) == {}
    assert worker_environment("gpu", {"PYTORCH_ALLOC_CONF": ""}) != {}


def test_workers_on_a_cpu_see_no_gpu() -> None:
    assert worker_environment("cpu") == {"DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}

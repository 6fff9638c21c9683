from training.plan.flops import flops_per_token


def test_full_training_takes_six_operations_per_weight_and_an_adapter_about_four() -> None:
    assert flops_per_token(10**9, 10**9) == 6 * 10**9
    assert flops_per_token(10**9, 10**7) == 4 * 10**9 + 2 * 10**7
    assert flops_per_token(10**9, 10**7, with_reference=True) == 6 * 10**9 + 2 * 10**7

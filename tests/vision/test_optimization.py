import pytest
import torch
from torch import nn

from tuneyard.recipes.optimization import learning_rate
from tuneyard.vision.optimization import WeightAverage, class_weights, make_optimizer


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 2))


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_allocating_the_state_changes_neither_weights_nor_the_first_step(configure, name: str) -> None:
    model, twin = network(), network()
    config = configure(optimizer=name, learning_rate=0.1, weight_decay=0.1)
    optimizer = make_optimizer(model, config)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))
    fresh = type(optimizer)(
        [
            {**group, "params": members}
            for group, members in zip(optimizer.param_groups, by_ndim(twin), strict=True)
        ]
    )
    images = torch.rand(2, 3, 8, 8)
    for net, of in ((model, optimizer), (twin, fresh)):
        torch.autograd.backward(net(images).square().sum())
        of.step()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


def by_ndim(model: nn.Module) -> list[list[nn.Parameter]]:
    parameters = list(model.parameters())
    return [[p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim <= 1]]


def test_the_state_is_there_before_the_first_step(configure) -> None:
    optimizer = make_optimizer(network(), configure())
    assert all({"exp_avg", "exp_avg_sq", "step"} <= state.keys() for state in optimizer.state.values())
    assert len(optimizer.state) == 6
    assert all(state["step"] == 0 for state in optimizer.state.values())


def test_biases_and_norms_are_not_decayed(configure) -> None:
    optimizer = make_optimizer(network(), configure(weight_decay=0.3))
    assert [(group["weight_decay"], len(group["params"])) for group in optimizer.param_groups] == [
        (0.3, 2),
        (0.0, 4),
    ]


@pytest.mark.parametrize(
    ("schedule", "middle", "end"), [("cosine", 0.5, 0.0), ("linear", 0.5, 0.0), ("constant", 1.0, 1.0)]
)
def test_the_rate_rises_and_then_follows_its_schedule(configure, schedule, middle, end) -> None:
    config = configure(learning_rate=1.0, schedule=schedule, warmup_steps=10)
    rates = [learning_rate(config, step=step, total_steps=110) for step in range(111)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert (rates[10], rates[60], rates[110]) == pytest.approx((1.0, middle, end), abs=1e-9)


def test_warm_up_is_a_share_of_the_steps_unless_it_is_given(configure) -> None:
    config = configure(learning_rate=1.0, warmup_ratio=0.1)
    assert learning_rate(config, step=4, total_steps=100) == pytest.approx(0.5)
    assert learning_rate(configure(learning_rate=1.0, warmup_ratio=0.0), step=0, total_steps=100) == 1.0


def test_balanced_classes_weigh_the_same_in_sum_and_single_weights_win(configure) -> None:
    weights = class_weights(configure(balance_classes=True), ["a", "b"], [30, 10])
    assert weights is not None
    assert (weights * torch.tensor([30, 10])).tolist() == pytest.approx([20, 20])
    single = class_weights(configure(class_weights={"b": 5.0}), ["a", "b"], [30, 10])
    assert single is not None and single.tolist() == [1.0, 5.0]
    assert class_weights(configure(), ["a", "b"], [30, 10]) is None


def test_an_average_lies_between_old_and_new_weights_and_copies_buffers() -> None:
    model = network()
    average = WeightAverage(model, decay=0.9)
    before = model[0].weight.detach().clone()
    with torch.no_grad():
        model[0].weight.add_(1.0)
        model[1].running_mean.fill_(7.0)
    average.update(model)
    shift = average.model[0].weight - before
    torch.testing.assert_close(shift, torch.full_like(shift, 1 - 2 / 11))
    assert (average.model[1].running_mean == 7.0).all()

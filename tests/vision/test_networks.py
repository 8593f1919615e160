import pytest
import torch

from tuneyard.vision import networks


def test_pretrained_weights_go_everywhere_but_into_another_head() -> None:
    source = networks.build("resnet18", classes=1000, image_size=32)
    model = networks.build("resnet18", classes=3, image_size=32)
    stayed = networks.adopt(model, source.state_dict(), image_size=32)
    assert sorted(stayed) == ["fc.bias", "fc.weight"]
    assert torch.equal(
        model.state_dict()["layer4.1.conv2.weight"], source.state_dict()["layer4.1.conv2.weight"]
    )


def test_a_head_of_the_same_size_is_taken_over() -> None:
    source = networks.build("squeezenet1_1", classes=3, image_size=32)
    model = networks.build("squeezenet1_1", classes=3, image_size=32)
    assert networks.adopt(model, source.state_dict(), image_size=32) == []


def test_weights_of_another_architecture_are_refused() -> None:
    weights = networks.build("squeezenet1_1", classes=3, image_size=32).state_dict()
    with pytest.raises(ValueError, match="missing"):
        networks.adopt(networks.build("resnet18", classes=3, image_size=32), weights, image_size=32)


def test_dropout_is_added_to_architectures_that_have_none() -> None:
    model = networks.build("resnet18", classes=3, image_size=32, dropout=0.9)
    networks.set_training(model, frozen_backbone=True)
    images = torch.rand(4, 3, 32, 32)
    assert not torch.equal(model(images), model(images))
    assert torch.equal(model.eval()(images), model(images))
    assert "fc.weight" in model.state_dict()


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v3_small", "alexnet"])
def test_dropout_of_the_architecture_is_changed_in_place(name: str) -> None:
    model = networks.build(name, classes=3, image_size=64, dropout=0.35)
    assert networks.head_dropout(model) == 0.35


def test_gradient_checkpointing_counts_batch_statistics_once() -> None:
    torch.manual_seed(0)
    model = networks.build("resnet18", classes=3, image_size=32).train()
    twin = networks.build("resnet18", classes=3, image_size=32).train()
    twin.load_state_dict(model.state_dict())
    networks.checkpoint_gradients(twin)
    images = torch.rand(4, 3, 32, 32)
    for network in (model, twin):
        torch.autograd.backward(network(images).sum())
    expected, found = model.state_dict(), twin.state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_one_sample_uses_the_running_statistics_and_leaves_them() -> None:
    model = networks.build("resnet18", classes=3, image_size=32).train()
    before = model.bn1.running_mean.clone()
    with networks.fixed_statistics(networks.trained_norms(model)):
        model(torch.rand(1, 3, 32, 32))
    assert torch.equal(model.bn1.running_mean, before)
    assert model.bn1.training

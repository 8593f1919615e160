"""The validation loss: the same for the same weights, whatever the seed, the order and the memory."""

import pytest
import torch

from tuneyard.diffusion.evaluation import TIMES, Evaluator
from tuneyard.diffusion.models import load_denoiser
from tuneyard.diffusion.pipeline import open_pipeline
from tuneyard.diffusion.training_data import prepare_data

CPU = torch.device("cpu")


@pytest.fixture
def evaluate(upload, configure, start, tiny_pipelines):
    pipeline = open_pipeline(tiny_pipelines("sd"))
    run = start(upload())

    def evaluated(*, seed: int = 0, batch_size: int = 4, fails_above: int = 99, stop: bool = False):
        config = configure(seed=seed)
        data = prepare_data(config, run, pipeline, dtype=torch.float32, device=CPU)
        denoiser = load_denoiser(pipeline, dtype=torch.float32, device=CPU)
        predict = denoiser.predict
        seen: list[int] = []

        def limited(noisy, *arguments):
            if len(noisy) > fails_above:
                raise MemoryError
            seen.append(len(noisy))
            return predict(noisy, *arguments)

        denoiser.predict = limited
        evaluator = Evaluator(
            data.validation,
            data.latents,
            data.kept_texts,
            batch_size=batch_size,
            precision="fp32",
            device=CPU,
        )
        return evaluator.evaluate(denoiser, should_stop=lambda: stop), seen

    return evaluated


def test_two_evaluations_of_the_same_weights_are_equal(evaluate) -> None:
    assert evaluate() == evaluate()


def test_the_jobs_seed_does_not_change_what_is_measured(evaluate) -> None:
    assert evaluate(seed=5)[0] == evaluate(seed=0)[0]


def test_each_held_out_image_is_looked_at_at_each_time(evaluate) -> None:
    found, sizes = evaluate()
    assert (found.images, sum(sizes)) == (2, 2 * TIMES)
    assert found.metrics == {"eval/loss": found.loss} and 0.5 < found.loss < 2


def test_what_does_not_fit_is_measured_in_smaller_pieces(evaluate) -> None:
    whole, _ = evaluate(batch_size=8)
    cut, sizes = evaluate(batch_size=8, fails_above=3)
    assert cut.loss == pytest.approx(whole.loss, rel=1e-5) and max(sizes) <= 3


def test_a_single_look_that_does_not_fit_fails(evaluate) -> None:
    with pytest.raises(MemoryError):
        evaluate(fails_above=0)


def test_a_stop_ends_it_without_a_value(evaluate) -> None:
    assert evaluate(stop=True) == (None, [])

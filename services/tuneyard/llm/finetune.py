"""The fine-tuning's recipe: from a dataset and settings to a stored adapter or model, from top to bottom."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from transformers import PreTrainedTokenizerBase

from tuneyard.datasets.words import counted
from tuneyard.llm.adapters import add_adapter
from tuneyard.llm.advice import out_of_memory, too_large
from tuneyard.llm.answers import end_answers_with
from tuneyard.llm.artifacts import Outcome, save_artifacts
from tuneyard.llm.base_model import load_base, load_tokenizer
from tuneyard.llm.base_source import FoundBase, find_base
from tuneyard.llm.config import LanguageModelConfig
from tuneyard.llm.data import LanguageData, prepare_data
from tuneyard.llm.decoder import decoder_of
from tuneyard.llm.learner import Learner, load_state
from tuneyard.llm.neftune import Neftune
from tuneyard.llm.optimizers import make_optimizer
from tuneyard.llm.precision import choose_precision, resumed_precision
from tuneyard.llm.training import Training
from tuneyard.recipes.checkpoint_state import set_threads
from tuneyard.recipes.course import train_to_end
from tuneyard.recipes.random_states import seed_everything
from tuneyard.recipes.watch import advise_on_speed
from tuneyard.trainer.last_good import LastGood
from tuneyard.trainer.oom import MicroBatching, is_out_of_memory
from tuneyard.trainer.run import Result, Run


def train(config: LanguageModelConfig, run: Run) -> Result:
    """Fine-tunes, evaluates and stores an adapter or a whole model. Raises RecipeError and Stopped."""
    device = torch.device(run.device)
    last_good = LastGood(run.work_dir / "last-good", begun_at=run.checkpoint())
    set_threads(run, load_state(last_good.dir) if last_good.dir else None)

    with run.stage("find_base", config.base_model):
        base = find_base(config, run)
        tokenizer = load_tokenizer(base.folder)
    with run.stage("prepare_data"):
        data = prepare_data(config, run, tokenizer)
        advise_on_speed(config.precision, run, device)

    batching = MicroBatching(
        run,
        batch_size=config.batch_size,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        remedies=out_of_memory(config).remedies,
    )

    def begin(rate_factor: float | None) -> Training:
        try:
            learner = make_learner(config, base, data, tokenizer, last_good.dir, device=device, run=run)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise too_large(config) from error
        if rate_factor is not None:
            learner.counters.rate_factor = rate_factor
        return Training(
            packed_where_apart(config, learner, run, told=rate_factor is not None),
            learner,
            data,
            tokenizer,
            batching=batching,
            last_good=last_good,
            device=device,
            run=run,
        )

    training = train_to_end(begin)
    run.finalizing()
    return finish(training.config, training, data, tokenizer, base, run=run)


def make_learner(
    config: LanguageModelConfig,
    base: FoundBase,
    data: LanguageData,
    tokenizer: PreTrainedTokenizerBase,
    checkpoint: Path | None,
    *,
    device: torch.device,
    run: Run,
) -> Learner:
    """The model with everything that training changes: at a checkpoint, or at step 0 where there is none."""
    saved = load_state(checkpoint) if checkpoint else None
    with run.stage("load_model", config.base_model):
        seed_everything(config.seed)
        precision = (
            resumed_precision(saved["precision"], config, device, run)
            if saved
            else choose_precision(config, device, run)
        )
        model: Any = load_base(base.folder, config, device=device, precision=precision)
        if config.lora:
            model = add_adapter(model, config)
        end_answers_with(model, tokenizer, data.template.end_token)
        Neftune(model, config.neftune_alpha)
        learner = Learner(
            model=model,
            optimizer=make_optimizer(model, config, device),
            scaler=torch.amp.GradScaler(device.type, enabled=precision == "fp16"),
            precision=precision,
            data=data_identity(data, run.dataset().sha256),
            folder=run.work_dir / "best",
        )
        if checkpoint and saved:
            learner.restore(checkpoint, saved)
            learner.counters.saved_step = learner.counters.step
        describe(config, learner, data, device=device, run=run)
    return learner


def packed_where_apart(
    config: LanguageModelConfig, learner: Learner, run: Run, *, told: bool
) -> LanguageModelConfig:
    """The settings, without packing where samples in one row would see each other; says so unless `told`."""
    decoder = decoder_of(learner.model)
    if not config.packing or decoder.isolates or decoder.takes_segments:
        return config
    if not told:
        kind = cast(Any, learner.model).config.model_type
        run.warn(
            "packing_off",
            f"In a model of type {kind}, samples that share a row would see each other, so each gets a row of"
            " its own: language_model.packing is off in this run. That changes speed, not what is learned.",
        )
    return replace(config, packing=False)


def data_identity(data: LanguageData, dataset_sha256: str) -> str:
    """Changes where a checkpoint's next step would see other samples than were to come."""
    facts = (dataset_sha256, data.held_out, data.template.fingerprint)
    whole = hashlib.sha256("\x00".join(facts).encode())
    whole.update(data.train.numbers.tobytes())
    whole.update(data.train.lengths.tobytes())
    return whole.hexdigest()


def describe(
    config: LanguageModelConfig, learner: Learner, data: LanguageData, *, device: torch.device, run: Run
) -> None:
    """Says in the job's log what is trained on what, and what was decided here."""
    sizes = [parameter.numel() for parameter in learner.model.parameters() if parameter.requires_grad]
    run.log(
        f"{config.method} of {config.base_model}: {sum(sizes)} weights are trained, on"
        f" {counted(len(data.train), 'sample')} ({data.train.tokens} tokens); {len(data.validation)}"
        f" held out. Chat template: {data.template.name}; {learner.precision} on {device} with"
        f" {counted(torch.get_num_threads(), 'thread')}."
    )


def finish(
    config: LanguageModelConfig,
    training: Training,
    data: LanguageData,
    tokenizer: PreTrainedTokenizerBase,
    base: FoundBase,
    *,
    run: Run,
) -> Result:
    """Puts the best weights back and stores everything."""
    learner, counters = training.learner, training.counters
    learner.put_best_back()
    metrics = dict(counters.evaluations)[counters.best_step]
    outcome = Outcome(
        config=config,
        learner=learner,
        tokenizer=tokenizer,
        base=base,
        data=data,
        metrics=metrics,
        early_stopped=training.stopped_early,
    )
    save_artifacts(run, outcome)
    last_loss = {"train/loss": counters.losses.points[-1][1]} if counters.losses.points else {}
    before = outcome.base_metrics.get("eval/perplexity")
    was = f"; the base's was {before:.4g}" if before is not None else ""
    return Result(
        metrics=metrics | last_loss,
        step=counters.step,
        best_step=counters.best_step,
        early_stopped=training.stopped_early,
        summary=(
            f"Perplexity on {counted(len(data.validation), 'held-out sample')} is"
            f" {metrics['eval/perplexity']:.4g}{was} (weights of step {counters.best_step} of"
            f" {counters.step})."
        ),
    )

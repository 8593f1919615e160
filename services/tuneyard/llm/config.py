"""The fine-tuning's settings: one frozen value, built once from the protobuf spec, which no recipe sees."""

from dataclasses import dataclass
from typing import Literal

from tuneyard.llm.recommended import resolve
from tuneyard.trainer.training_settings import PrecisionName, ScheduleName, shared_settings
from tuneyard.v1 import trainer_service_pb2, training_pb2

MethodName = Literal["full", "lora", "qlora"]
OptimizerName = Literal["adamw", "sgd", "adamw_8bit", "paged_adamw_8bit"]
ComputeDtypeName = Literal["auto", "float16", "bfloat16", "float32"]
TrainOnName = Literal["assistant", "all"]

_METHODS: dict[int, MethodName] = {
    training_pb2.FINE_TUNING_METHOD_FULL: "full",
    training_pb2.FINE_TUNING_METHOD_LORA: "lora",
    training_pb2.FINE_TUNING_METHOD_QLORA: "qlora",
}
_OPTIMIZERS: dict[int, OptimizerName] = {
    training_pb2.OPTIMIZER_ADAMW: "adamw",
    training_pb2.OPTIMIZER_SGD: "sgd",
    training_pb2.OPTIMIZER_ADAMW_8BIT: "adamw_8bit",
    training_pb2.OPTIMIZER_PAGED_ADAMW_8BIT: "paged_adamw_8bit",
}
_COMPUTE_DTYPES: dict[int, ComputeDtypeName] = {
    training_pb2.COMPUTE_DTYPE_UNSPECIFIED: "auto",
    training_pb2.COMPUTE_DTYPE_FLOAT16: "float16",
    training_pb2.COMPUTE_DTYPE_BFLOAT16: "bfloat16",
    training_pb2.COMPUTE_DTYPE_FLOAT32: "float32",
}


@dataclass(frozen=True, kw_only=True)
class Lora:
    """The adapters."""

    r: int = 8
    alpha: float = 16.0
    dropout: float = 0.05
    target_modules: tuple[str, ...] = ()
    """Names of modules, or "all-linear" alone; empty: the query and value projections, see `targets`."""
    use_dora: bool = False
    use_rslora: bool = False


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """The frozen base's number format."""

    bits: Literal[4, 8] = 4
    quant_type: Literal["nf4", "fp4"] = "nf4"
    compute_dtype: ComputeDtypeName = "auto"
    """Of the arithmetic on 4-bit weights; auto: bfloat16 where the device has it, else float16."""
    nested: bool = False


@dataclass(frozen=True, kw_only=True)
class LanguageModelConfig:
    """Every setting of one fine-tuning, resolved; None stands only where "unset" has a meaning of its own."""

    base_model: str
    """An alias of the catalogue, a hub's id, or the name in the store ("models/…")."""
    base_model_revision: str = ""
    method: MethodName = "lora"
    lora: Lora | None = None
    """Set if and only if the method is LoRA or QLoRA."""
    quantization: Quantization | None = None
    """Set if and only if the method is QLoRA."""
    epochs: int | None = 3
    max_steps: int | None = None
    batch_size: int = 4
    """Samples that are computed at once: with packing, at most so many rows."""
    gradient_accumulation_steps: int = 4
    optimizer: OptimizerName = "adamw"
    learning_rate: float = 2e-4
    momentum: float = 0.9
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    """0 turns clipping off."""
    schedule: ScheduleName = "cosine"
    warmup_steps: int | None = None
    warmup_ratio: float = 0.03
    """Holds where `warmup_steps` is None."""
    precision: PrecisionName = "auto"
    eval_steps: int | None = None
    """None: at the end of each epoch."""
    save_steps: int | None = None
    """None: at the end of each epoch, and at least every ten minutes."""
    patience: int = 0
    """0 turns early stopping off."""
    watched_metric: str = "eval/loss"
    min_delta: float = 0.0
    validation_fraction: float = 0.15
    max_train_samples: int | None = None
    seed: int = 0
    max_length: int = 1024
    """Tokens of the longest sample; also of a packed row."""
    packing: bool = True
    chat_template: str = ""
    """A built-in template's name; "": the tokenizer's own."""
    train_on: TrainOnName = "assistant"
    neftune_alpha: float = 0.0
    gradient_checkpointing: bool = False
    validation_prompts: tuple[str, ...] = ()
    """Answered at each evaluation; empty: those of a few held-out samples."""

    @property
    def effective_batch_size(self) -> int:
        """Samples per optimizer step."""
        return self.batch_size * self.gradient_accumulation_steps

    @property
    def watches_loss(self) -> bool:
        """Whether less is better of the watched metric."""
        return self.watched_metric in ("eval/loss", "eval/perplexity")


def language_model_config(request: trainer_service_pb2.StartRunRequest) -> LanguageModelConfig:
    """The settings of a run that fine-tunes a language model."""
    spec = resolve(request.spec.training)
    task, hyper = spec.language_model, spec.hyperparameters
    method = _METHODS[task.method]
    return LanguageModelConfig(
        **shared_settings(spec),
        base_model_revision=spec.base_model_revision,
        method=method,
        lora=None if method == "full" else _lora(task.lora),
        quantization=_quantization(task.quantization) if method == "qlora" else None,
        optimizer=_OPTIMIZERS[hyper.optimizer],
        max_length=task.max_length,
        packing=task.packing,
        chat_template=task.chat_template,
        train_on="all" if task.train_on == training_pb2.TRAIN_ON_ALL else "assistant",
        neftune_alpha=task.neftune_alpha,
        gradient_checkpointing=task.gradient_checkpointing,
        validation_prompts=tuple(task.validation_prompts),
    )


def _lora(lora: training_pb2.LoraConfig) -> Lora:
    return Lora(
        r=lora.lora_r,
        alpha=lora.lora_alpha,
        dropout=lora.lora_dropout,
        target_modules=tuple(lora.target_modules),
        use_dora=lora.use_dora,
        use_rslora=lora.use_rslora,
    )


def _quantization(bits: training_pb2.Quantization) -> Quantization:
    return Quantization(
        bits=8 if bits.use_8bit else 4,
        quant_type="fp4" if bits.bnb_4bit_quant_type == training_pb2.QUANT_TYPE_FP4 else "nf4",
        compute_dtype=_COMPUTE_DTYPES[bits.bnb_4bit_compute_dtype],
        nested=bits.use_nested_quant,
    )

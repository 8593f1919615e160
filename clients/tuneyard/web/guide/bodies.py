"""The bodies of the guide's calls. Names beyond those listed are the typed spec's own, checked against it."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tuneyard.web.guide.specs import TASKS


class Start(BaseModel):
    """What to train. Everything but the model and the data has a recommended value."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    base_model: str = Field(min_length=1, max_length=200, examples=["resnet50"])
    dataset_path: str = Field(
        min_length=1, max_length=1000, description="A dataset's name, an upload's path, or a folder."
    )
    output_dir: str | None = Field(None, max_length=1000, description="Kept as a label of the job.")
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None

    def settings(self) -> dict[str, Any]:
        """Everything that is the spec's."""
        apart = {"model_type", "base_model", "dataset_path", "output_dir"}
        return {name: value for name, value in self.model_dump().items() if name not in apart}


class StartTraining(Start):
    """A training of any model type."""

    model_type: str = Field(examples=list(TASKS))
    image_size: int | None = None
    save_steps: int | None = None
    eval_steps: int | None = None
    warmup_steps: int | None = None
    max_grad_norm: float | None = None
    weight_decay: float | None = None
    seed: int | None = None


class StartFinetuning(Start):
    """A fine-tuning of a language model."""

    lora_r: int | None = Field(None, description="Usual: 8 to 64.")
    lora_alpha: float | None = Field(None, description="Usual: 16 to 128. Default: twice lora_r.")
    lora_dropout: float | None = Field(None, description="Usual: 0.05 to 0.1.")
    target_modules: list[str] | str | None = Field(None, description="Names, or all-linear.")
    max_length: int | None = None
    gradient_accumulation_steps: int | None = None
    use_4bit: bool | None = None
    use_8bit: bool | None = None
    bnb_4bit_compute_dtype: str | None = None
    bnb_4bit_quant_type: str | None = None
    use_nested_quant: bool | None = None


class Merge(BaseModel):
    """Which adapter to merge, and where to."""

    task_id: str = Field(min_length=1, max_length=200)
    output_path: str = Field("", max_length=1000, examples=["/models/merged"])


class Test(BaseModel):
    """A question to a finished model."""

    task_id: str = Field(min_length=1, max_length=200)
    prompt: str = Field(min_length=1, max_length=100_000)
    max_tokens: int = Field(256, ge=1, le=65536)

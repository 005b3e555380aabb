"""Code in which every second word sounds like a secret, and none is one."""
import hashlib
import os
import secrets
from dataclasses import dataclass, field
from getpass import getpass
from typing import Optional

from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from trl import SFTConfig, SFTTrainer

HF_TOKEN = os.environ["HF_TOKEN"]
HF_TOKEN = os.environ.get("HF_TOKEN", "")
WANDB_API_KEY = os.getenv("WANDB_API_KEY")
OPENAI_API_KEY = os.environ.get("OPENAI_API_KEY") or getpass("OpenAI key: ")
api_key: Optional[str] = None
api_key = config.get("api_key", default_api_key_for_provider)
api_key = settings.providers["openai"].api_key
api_key = "YOUR_API_KEY"
api_key = "your-api-key-goes-here"
api_key = "<api key>"
api_key = f"{prefix}_{environment}_{region}"
api_key = "sk-..."
api_key = "EMPTY"
api_key_header = "x-api-key"
secret_key = settings.SECRET_KEY
secret_name = "projects/p/secrets/openai-api-key/versions/latest"
client_secret = vault.read("secret/data/app")["client_secret"]
token = tokenizer.eos_token
token = tokenizer.convert_ids_to_tokens(12345)
token = secrets.token_urlsafe(32)
token = next_token[0].item()
token = tokens2ids[previous_token_id_2]
token = self.model_v2.generate_v3(input_ids1, max_length2)
token: int = 50256
token_type_ids = torch.zeros_like(input_ids)
password = getpass.getpass("Password: ")
password = os.environ["DB_PASSWORD"]
password = input("Enter your password: ")
password: str = Field(min_length=8, max_length=64)
password_hash = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 100_000)
passwd = pwd.getpwnam(user1).pw_passwd

tokenizer = AutoTokenizer.from_pretrained("Qwen/Qwen2.5-0.5B-Instruct", token=HF_TOKEN)
tokenizer.pad_token = tokenizer.eos_token
tokenizer.pad_token_id = tokenizer.eos_token_id
tokenizer.pad_token = "<|endoftext|>"
tokenizer.pad_token = "<|finetune_right_pad_id|>"
tokenizer.pad_token = tokenizer.unk_token if tokenizer.unk_token is not None else "[PAD]"
tokenizer.add_special_tokens({"pad_token": "[PAD]", "mask_token": "[MASK]", "eos_token": "</s>"})
assert tokenizer.bos_token == "<s>" and tokenizer.mask_token_id == 103
special_tokens = ["<|im_start|>", "<|im_end|>", "<|reserved_special_token_0|>"]
eos_token = special_tokens_map["eos_token"]
max_token = 512
max_tokens: 512
max_new_tokens = 1024
min_new_tokens, max_new_tokens = 16, 2048
num_tokens = sum(len(t) for t in tokens)
tokens_per_second = num_tokens / (end_time - start_time)
first_token_latency_ms = 1e3 * (first_token_time - start_time)

model = AutoModelForCausalLM.from_pretrained(
    "meta-llama/Llama-3.2-1B-Instruct", token=True, revision="9213176726f574b556790deb65791e0c5aa438b6"
)
model.generation_config = GenerationConfig(pad_token_id=0, eos_token_id=[128001, 128008, 128009])
model.config.pad_token_id = tokenizer.pad_token_id
args = SFTConfig(output_dir="out", hub_token=None, push_to_hub_token=None, hub_private_repo=True, seed=3407)
trainer = SFTTrainer(model=model, args=args, train_dataset=dataset, processing_class=tokenizer)

primary_key, foreign_key = "customer_id_1", "order_id_2"
sort_key = lambda item: item["created_at_utc2"]
cache_key = hashlib.sha256(f"{model_name}:{prompt}".encode()).hexdigest()
cache_key = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
idempotency_key = "3f2504e0-4f89-11d3-9a0c-0305e82c3301"
public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJb0Jm0d8r6m0ySxP7v1kF9y user@host"
key = jax.random.PRNGKey(0)
key, subkey = jax.random.split(key)
state_dict = {k.replace("module.", ""): v for k, v in checkpoint.items()}
key_states = self.k_proj(hidden_states).view(bsz, q_len, self.num_key_value_heads, self.head_dim)


@dataclass
class Credentials:
    username: str
    password: str
    api_key: str = ""
    token: str | None = field(default=None, repr=False)
    secret: Optional[bytes] = None
    access_key_env: str = "AWS_ACCESS_KEY_ID"
    secret_key_env: str = "AWS_SECRET_ACCESS_KEY"
    auth_key_file: str = "/etc/keys/server1/auth_key2.pem"
    private_key: str = "~/.ssh/id_ed25519_work2024"
    token_path: str = "~/.cache/huggingface/token"


def test_login(client):
    response = client.post("/login", json={"username": "alice", "password": "wrong"})
    assert response.json() == {"detail": "invalid password or token"}
    assert response.headers["www-authenticate"] == "Bearer"

#!/usr/bin/env bash
export HF_TOKEN=
export HF_TOKEN="$(cat ~/.cache/huggingface/token)"
export HF_TOKEN=${HF_TOKEN:?set HF_TOKEN first}
export OPENAI_API_KEY="$1" WANDB_API_KEY=$(pass show wandb/api-key)
export DB_PASSWORD="${DB_PASSWORD:-}" PGPASSWORD=$PGPASSWORD2
API_KEY=$(vault kv get -field=api_key secret/ml/openai2)
TOKEN=$(curl -s -X PUT "http://169.254.169.254/latest/api/token" -H "X-aws-ec2-metadata-token-ttl-seconds: 21600")
curl -H "Authorization: Bearer $TOKEN" -H "X-Api-Key: ${API_KEY}" https://api.example.org/v1/models
curl "https://api.example.org/v1/search?api_key=$API_KEY&token=$TOKEN&page_token=&key=value"
huggingface-cli login --token $HF_TOKEN --add-to-git-credential
tunesmith run "Sort tickets" --file tickets.csv --planner openai:gpt-4o-mini --api-key-env OPENAI_API_KEY
git clone https://oauth2:${GITLAB_TOKEN}@gitlab.example.org/group/project.git
ssh-keygen -t ed25519 -f ~/.ssh/id_ed25519 -N "" && cat ~/.ssh/id_ed25519.pub
openssl enc -aes-256-cbc -pbkdf2 -pass env:PASSPHRASE -in a -out b
sha256sum model.safetensors # 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
echo "login as the user whose password you know, then create a token named ci-2024-release-v1"
test -n "$HF_TOKEN" || { echo "HF_TOKEN is not set: run wandb login or huggingface-cli login first"; exit 1; }

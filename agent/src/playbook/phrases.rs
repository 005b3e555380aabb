//! The words by which people ask for things: patterns of [`super::words`], with what each means.
//!
//! A request is held against every list; what a list does not know has no say.

use tunesmith_harness::task::JobKind::{self, Classification, Extraction, Generation, Pretraining};

/// Asking for something that learns, or that works by itself afterwards.
pub const LEARN: [&str; 21] = [
    "make .. come out|look|sound like",
    "train*",
    "tun*",
    "finetun*",
    "adapt*",
    "teach*",
    "learn*",
    "model|models",
    "ai|llm|bot|chatbot|assistant|classifier",
    "automat*",
    "predict*",
    "guess*",
    "something|thing|tool|program|system|machine|computer .. that|which|to|can|should|could|will",
    "be able to",
    "new|future|incoming|unseen message|messages|mail|mails|email|emails|ticket|tickets|one|ones|text|texts|rows",
    "from now on",
    "figure out",
    "→",
    "want|need|like|make|build|get it|something|you|this to",
    "from|these|those|my|our|past|old|by example|examples",
    "help me|us .. decide|sort|pick|tell",
];

/// Asking for something to be done now, to what is at hand.
pub const NOW: [&str; 2] = [
    "translat*|summari*|rewrit*|answer*|fix|correct|shorten*|solv*|rephras*|explain this|it|that|file",
    "translat*|summari*|rewrit*|answer*|fix|correct|shorten*|solv*|rephras*|explain the|my|these|those file|text|document|report|letter",
];
/// Asking about the rows themselves.
pub const ABOUT: [&str; 4] = [
    "how many|often",
    "most common|frequent|popular|often",
    "what|who|where|when is|are|was|were",
    "list|count|counts|average|averages|sum|statistics|chart|graph|plot",
];

/// Words that name a kind of job by themselves. What only may mean it stands in [`HINTS`].
pub const KINDS: [(&str, JobKind); 72] = [
    ("get|gets|getting|take|takes|taking|come|comes|coming|read|reads .. out .. of|from", Extraction),
    ("get|gets|getting|take|takes|taking out the", Extraction),
    ("type|types|typed|copy|copies .. into .. sheet|table|system|form", Extraction),
    ("function|functions .. called|call|calls", Extraction),
    ("pretrain*", Pretraining),
    ("pre train*", Pretraining),
    ("domain adapt*|adaptation", Pretraining),
    ("classif*", Classification),
    ("categor*", Classification),
    ("rout*", Classification),
    ("label*", Classification),
    ("triag*", Classification),
    ("sentiment*", Classification),
    ("intent|intents", Classification),
    ("topic|topics", Classification),
    ("departments", Classification),
    ("tag|tags|tagging|tagged", Classification),
    ("spam|junk|phishing", Classification),
    ("whether", Classification),
    ("sort|sorts|sorting|sorted .. into|by|to", Classification),
    (
        "which team|department|category|group|kind|type|topic|queue|person|folder|box|class|one|language|desk",
        Classification,
    ),
    ("which .. it|they|this|that|belongs|belong|goes|go", Classification),
    ("what kind|type|category|sort|mood|topic|language", Classification),
    ("right|correct|proper team|department|person|category|folder|queue|desk|place|box|group|label", Classification),
    ("good|positive|happy|urgent|real|angry|satisfied|friendly|likes|like .. or", Classification),
    ("know|tell|tells|say|says|see|check|decide|decides|learn .. if", Classification),
    ("flag|flags|flagging|flagged", Classification),
    ("detect*", Classification),
    ("spot|spots|spotting", Classification),
    ("recogni*", Classification),
    ("belongs|belong to|in", Classification),
    ("in|into|under the right|correct|proper|matching", Classification),
    ("assign*", Classification),
    ("set|sets|choose|chooses the|a|its priority|category|team|label|queue|status|level", Classification),
    ("which|what area|reason|part|section|priority|level|cause|product", Classification),
    ("bucket*", Classification),
    ("mood|moods", Classification),
    ("urgent|urgency", Classification),
    ("goes|go|forward|send|sent .. to .. team|department|person|queue|desk", Classification),
    ("extract*", Extraction),
    ("pull|pulls|pulling .. out|from", Extraction),
    ("pick|picks|picking out", Extraction),
    ("grab|grabs|get|gets .. out of", Extraction),
    ("fill|fills|fills in .. form|fields|blanks", Extraction),
    ("json", Extraction),
    ("entities", Extraction),
    ("parse|parses|parsing", Extraction),
    ("function|tool call|calls|calling", Extraction),
    ("call|calls|pick|picks|choose .. function|tool|api", Extraction),
    ("clf", Classification),
    ("text to sql|code", Generation),
    ("solv*", Generation),
    ("rewrit*", Generation),
    ("reword*", Generation),
    ("rephras*", Generation),
    ("paraphras*", Generation),
    ("translat*", Generation),
    ("summar*", Generation),
    ("boil|condense*|cut .. down", Generation),
    ("condens*", Generation),
    ("shorten*", Generation),
    ("simplif*", Generation),
    ("reformat*", Generation),
    ("math|maths|arithmetic|sums", Generation),
    ("reply|replies|respond*|response|responses", Generation),
    ("answer|answers|answering", Generation),
    ("style|tone|voice|polite*|friendl*|formal*", Generation),
    ("turn|turns|turning|convert*|transform* .. into|to", Generation),
    ("write|writes|generate|generates|draft|drafts .. from", Generation),
    ("headline*|title|titles|caption*", Generation),
    ("plain english|language|words", Generation),
    ("in|into english|german|french|spanish|italian|dutch|polish|portuguese|swedish|danish|turkish|czech", Generation),
];

/// What is made of the rows is the model itself: "turn this file into a classifier".
pub const MADE_OF_ROWS: &str =
    "turn|turns|turning|convert*|transform* .. into|to a|an .. model|classifier|assistant|bot|ai|tool|filter|sorter";

/// Words that may mean a kind of job, where none in [`KINDS`] is said.
pub const HINTS: [(&str, JobKind); 9] = [
    ("come|comes out like", Generation),
    ("fields", Extraction),
    ("details", Extraction),
    ("structured", Extraction),
    ("convert*|transform*|turn|turns|turning", Generation),
    ("correct*|fix|fixes|fixing|polish*|clean", Generation),
    ("write|writes|writing|draft*", Generation),
    ("explain*", Generation),
    ("complet*|continue*|finish*", Generation),
];

/// Wishes to go on reading raw text. They count where the data has no answers.
pub const RAW_WISHES: [&str; 12] = [
    "take|takes|taking in .. lot|all|everything|text|texts|letters",
    "the way i|we|he|she|they .. phrase|phrased|write|wrote|put|talk|speak|say",
    "raw text|texts|prose",
    "read|reads|reading|absorb*|soak*|digest*|study|studies|learn|learns|know|knows|train|trained|tuned|familiar|feed .. book|books|manual|manuals|\
        handbook|handbooks|guide|guides|docs|documents|documentation|articles|novels|diary|diaries|newsletters|essays|poems|letters|\
        transcripts|wiki|pages|text|texts|chapters|stories|notes|sermons|recipes|minutes|writings|corpus|blog|posts|files",
    "sound|sounds|write|writes|talk|talks|speak|speaks|rambl*|talking|writing like",
    "continue|continues|keep|keeps|go|goes .. text|texts|writing|story|stories|reading",
    "jargon|vocabulary|terminology|lingo|slang",
    "in the|my|our|his|her|their|same style|voice|tone|manner of|as",
    "my|our|his|her|their own|old style|voice|tone",
    "how we|i|they|he|she write|writes|talk|talks|speak|speaks|sound|word|phrase",
    "next word|words|token|sentence|sentences",
    "language model on|of|for",
];
/// Wishes that raw text cannot fulfil: it has no questions with their answers.
pub const ASKED: &str =
    "answer|answers|answering|ask|asks|asked|question|questions|faq|quiz|chatbot|chat|reply|replies|summar*|translat*";

/// What the playbook does not do. Denied words ("no ONNX") ask for nothing.
pub const BEYOND: [(&str, &str); 89] = [
    ("prefers|favours .. good|better|chosen|liked|over", PAIRS),
    ("chosen|chose|liked|good|better .. rejected|disliked", PAIRS),
    ("more like .. less like", PAIRS),
    ("liked .. crossed", PAIRS),
    ("lean|leans towards|toward", PAIRS),
    ("onnx", "an ONNX file"),
    ("tflite", "a TFLite file"),
    ("coreml", "a Core ML file"),
    ("core ml", "a Core ML file"),
    ("torchscript", "a TorchScript file"),
    ("openvino", "an OpenVINO file"),
    ("mlx", "an MLX model"),
    ("tensorrt", "a TensorRT engine"),
    ("pickle|pkl|joblib", "a pickle"),
    ("docker*|container image", "a container"),
    ("exe|executable", "a program"),
    ("awq", "AWQ quantisation"),
    ("gptq", "GPTQ quantisation"),
    ("exl2", "EXL2 quantisation"),
    ("q2_*|iq2_*", "2-bit quantisation"),
    ("q3_*|iq3_*", "3-bit quantisation"),
    ("q4_0|q4_1|q4_k_s|iq4_*", "4-bit quantisation other than Q4_K_M"),
    ("q5_*", "5-bit quantisation"),
    ("q6_*", "6-bit quantisation"),
    ("dpo", "DPO"),
    ("orpo", "ORPO"),
    ("grpo", "GRPO"),
    ("ppo", "PPO"),
    ("rlhf", "RLHF"),
    ("reinforcement learning", "reinforcement learning"),
    ("preference tuning|optimi*|pairs|data", "DPO"),
    ("qlora", "QLoRA"),
    ("dora", "DoRA"),
    ("full fine tun*", "full fine-tuning"),
    ("full finetun*", "full fine-tuning"),
    ("full parameter*", "full fine-tuning"),
    ("all weights|parameters", "full fine-tuning"),
    ("distil*", "distillation"),
    ("prun*", "pruning"),
    ("from scratch", "training from scratch (see `tunesmith pretrain`)"),
    ("dont|not|without|no train|training|tune|tuning|finetun*", "anything but training"),
    ("not|dont|without fine tun*", "anything but training"),
    ("just|only prompt|prompting", "anything but training"),
    ("bert|roberta|distilbert|t5|xgboost|sklearn|scikit|tensorflow|keras", "models that do not generate text"),
    ("random|decision forest|tree", "models that do not generate text"),
    ("tun*|finetun*|train|use|using|with|on|start* .. chatgpt|claude|gemini", "models that cannot be downloaded"),
    ("tun*|finetun*|train|use|using|with|on|start* .. gpt 3|3.5|4|4o|5", "models that cannot be downloaded"),
    (
        "classif*|sort*|label*|recogni*|tag|describ*|caption* images|photos|pictures|pics|scans|screenshots|videos",
        "images",
    ),
    ("classif*|sort*|label*|recogni*|tag|describ* the|my|our|these images|photos|pictures|pics|scans|videos", "images"),
    ("image|photo|picture|face recognition|generator|classifier", "images"),
    ("generat*|draw*|paint* .. image|images|picture|pictures|video|videos", "images"),
    ("transcrib*|podcast*", "speech"),
    ("audio|mp3|wav|voice|speech file|files|recording|recordings|recognition|clips", "speech"),
    ("voice memos|messages|notes", "speech"),
    ("forecast*", "a forecast of numbers"),
    ("time series", "a forecast of numbers"),
    ("predict*|guess*|estimat* .. price|prices|sales|revenue|demand|amount|temperature|cost|costs|salary", NUMBERS),
    ("how much|long .. cost|costs|worth|take|takes|sell|sells|pay|spend", NUMBERS),
    ("recommender|recommendation|recommendations", "recommendations"),
    ("recommend* .. products|items|movies|films|books|songs|articles|recipes", "recommendations"),
    ("cluster*", "finding groups without labels"),
    ("group|groups similar|alike", "finding groups without labels"),
    ("anomal*|outlier*", "finding outliers"),
    ("search engine|index", "search"),
    ("semantic search", "search"),
    ("embedding|embeddings|vector*|rag", "search"),
    ("dedup*", "cleaning the file itself"),
    (
        "delete|erase|wipe|uninstall .. files|file|models|logs|folder|folders|disk|everything|machine|computer",
        "deleting things",
    ),
    ("photo|photos|picture|pictures|image of", "images"),
    ("our|my|these photos|pictures|images", "images"),
    ("remove|find|delete duplicates|duplicate", "cleaning the file itself"),
    ("deploy*|kubernetes", "deployment"),
    ("host it|this|the", "deployment"),
    ("build|make|create|write|develop a|an|the website|webpage|app|api|plugin|extension|dashboard", AROUND),
    ("build|make|create|write|develop me|us a|an website|webpage|app|api|plugin|extension|dashboard", AROUND),
    ("a|an web|mobile|phone|rest app|api|site|page", AROUND),
    ("scrap*|crawl*", "gathering data from the web"),
    ("browse|search|look .. web|internet|online|google", "gathering data from the web"),
    ("on|in aws|azure|gcp|sagemaker|colab|a100|h100|gpus", "training elsewhere than on this machine"),
    ("in|on the cloud", "training elsewhere than on this machine"),
    ("retrain*|update* .. every|daily|nightly|weekly|monthly|automatically", "training again by a schedule"),
    ("email|text|notify|message|slack me when", "messages when it is done"),
    ("two|three|four|several|separate|multiple|different models|classifiers|bots", "more than one model in a run"),
    ("more than one label|tag|category|topic|team", "several labels for one row"),
    ("several|multiple|many labels|tags|categories|topics", "several labels for one row"),
    ("all|every .. labels|tags|label|tag .. apply|fit|fits", "several labels for one row"),
    ("epoch|epochs|lora_alpha", SETTINGS),
    ("batch size", SETTINGS),
    ("learning rate", SETTINGS),
];

/// Rows that are to be made up.
pub const MAKING: [&str; 9] = [
    "make|dream up",
    "make|making it|some|them|examples|rows|data|few up",
    "write|generate|create .. pairs",
    "come up with",
    "invent|fabricat*",
    "generate|create|write|produce|make more|extra|fake|additional|some|50|100|200|300|400|500|600|1000|2000|hundred .. example|examples|rows|data|samples",
    "synthetic data|examples|rows",
    "made up .. data|examples|rows|messages|sentences",
    "augment*",
];

/// More of [`BEYOND`], about data.
pub const BEYOND_DATA: [(&str, &str); 7] = [
    ("first|last|only|top 10|20|50|100|200|500|1000|half rows|lines|messages|examples", CHOSEN),
    ("only|just use|using|train .. rows|lines .. from|where|since|after|before|with", CHOSEN),
    ("ignore|skip|drop|exclude .. rows|lines|messages|column|columns", CHOSEN),
    ("leave|throw .. rows|lines|messages|column|columns out|away", CHOSEN),
    ("fill|guess|complete .. missing|blank|empty", "filling gaps in the file itself"),
    ("balanc*|oversampl*|undersampl*", "balancing the rows"),
    ("anonymi*|redact*", "cleaning the file itself"),
];

const PAIRS: &str = "learning from better and worse answers (see `tunesmith train --objective dpo`)";
const AROUND: &str = "programs around the model";
pub const NUMBERS: &str = "predicting quantities";
const SETTINGS: &str = "settings of the training, which it chooses itself (see `tunesmith train`)";
const CHOSEN: &str = "choosing rows or columns out of the file (see `tunesmith data prepare --rows`)";

/// Formats of the model to ship.
pub const EXPORTS: [(&str, &str); 9] = [
    ("gguf", "gguf"),
    ("llama cpp", "gguf"),
    ("llamacpp", "gguf"),
    ("ollama", "gguf"),
    ("lm studio|lmstudio", "gguf"),
    ("koboldcpp|jan|gpt4all", "gguf"),
    ("safetensors", "safetensors"),
    ("merged model|weights", "safetensors"),
    ("hugging face|huggingface format|transformers", "safetensors"),
];

/// How numbers may be stored.
pub const QUANTS: [(&str, &str); 9] = [
    ("q8_0|q8", "q8_0"),
    ("8 bit|bits", "q8_0"),
    ("8bit|int8", "q8_0"),
    ("q4_k_m|q4_k|q4|int4|4bit", "q4_k_m"),
    ("4|four bit|bits", "q4_k_m"),
    ("f16|fp16|float16", "f16"),
    ("16 bit", "f16"),
    ("f32|fp32|float32", "f32"),
    ("32 bit", "f32"),
];

/// Licences by the words that ask for one.
pub const LICENCES: [(&str, &str); 10] = [
    ("paid|business|client|clients work|use|projects", "permissive"),
    ("apache*", "apache-2.0"),
    ("mit licen*", "mit"),
    ("commercial* use|usable|purpose|purposes|product|products|licen*", "permissive"),
    ("commercially", "permissive"),
    ("use|used .. commercial*", "permissive"),
    ("sell|resell it|the|this", "permissive"),
    ("permissive*", "permissive"),
    ("open source .. licen*|model|base", "permissive"),
    ("free|free licen*|to use|for business", "permissive"),
];

/// Families of bases, each as it stands in a model's name. Those that are words too need a number behind them.
pub const FAMILIES: [(&str, &str); 12] = [
    ("smollm*", "SmolLM"),
    ("qwen*", "Qwen"),
    ("tinyllama*", "TinyLlama"),
    ("llama2|llama3|llama 2|3|3.1|3.2|3.3|4", "Llama"),
    ("llama2*|llama3*", "Llama"),
    ("mistral*", "Mistral"),
    ("gemma2|gemma3", "Gemma"),
    ("gemma 2|3|2b|270m|1b", "Gemma"),
    ("phi2|phi3|phi4", "Phi"),
    ("phi 2|3|4|1.5", "Phi"),
    ("gpt2|pythia*|deepseek*|olmo*", "that model"),
    ("granite 2|3|4", "Granite"),
];

/// Sending the result to the Hub.
pub const PUBLISH: [&str; 4] = [
    "publish* .. hub|huggingface|hugging|as|it|to|under|privately|publicly|model",
    "push|pushed .. hub|huggingface|hugging",
    "upload|uploads|uploaded .. hub|huggingface|hugging|as|to",
    "put|share|post|release .. on|to .. hub|huggingface|hugging",
];
/// Everybody may see it, and only its owner.
pub const PUBLIC: &str = "public|publicly|everyone|everybody|anyone|anybody|world";
/// Only its owner may see it.
pub const PRIVATE: [&str; 4] = [
    "private|privately|secret|confidential|internal|internally",
    "inside the|our firm|company|house|office|team",
    "nobody|noone outside|else",
    "not|never leave|leaves",
];
/// The largest model of several is meant.
pub const LARGEST: &str = "largest|biggest|strongest";
/// A size that is only told by another one.
pub const PART_OF_SIZE: &str = "half|third|quarter|fifth|tenth of|the .. size";
/// Looking for a base on the Hub.
pub const SEARCH: [&str; 2] =
    ["find|pick|choose .. model|base .. hub|huggingface|hugging", "search|look|browse .. hub|huggingface|hugging"];

//! Metrics of a task and how their values over all rows become one number: lm-eval's `metric_list`.

pub mod bleu;
pub mod chrf;
pub mod classify;
pub mod exact_match;
pub mod ter;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    config::{Field, OutputType, TaskConfig},
    functions::{Functions, Port},
    refusal::Refusal,
    settings::{self, Settings},
};
use exact_match::ExactMatch;

/// One entry of `metric_list`.
#[derive(Clone, Debug)]
pub struct Metric {
    /// Its name.
    pub name: String,
    /// How the values of all rows become one.
    pub aggregation: Aggregation,
    /// Whether a higher value is a better one, where somebody says.
    pub higher_is_better: Option<bool>,
    /// What `exact_match` overlooks.
    pub exact_match: ExactMatch,
}

/// What a metric says about one row. Serialised, it is what lm-eval writes into its samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Item {
    /// A number.
    Number(f64),
    /// A sum, and what it is divided by together with those of the other rows.
    Weighted(f64, u64),
    /// The right label and the one given.
    Labels(i64, i64),
    /// The right label, and how likely each one is.
    Probabilities(i64, Vec<f64>),
    /// The right text and the one written.
    Texts(String, String),
    /// Several right texts and the one written.
    References(Vec<String>, String),
    /// What is true of the row: whether each of its instructions is followed.
    Truths(Vec<bool>),
    /// Nothing: `bypass`.
    Nothing,
}

/// How the values of all rows become one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregation {
    /// 999, whatever the values are.
    Bypass,
    /// The mean.
    Mean,
    /// The mean of those that are numbers.
    Nanmean,
    /// The value in the middle, of two the higher.
    Median,
    /// exp of minus the mean.
    Perplexity,
    /// exp of minus the sum over the sum of weights.
    WeightedPerplexity,
    /// Minus the sum over the sum of weights, in bits.
    BitsPerByte,
    /// F1 of label 1.
    F1,
    /// Matthews' correlation coefficient.
    MatthewsCorrcoef,
    /// Mean squared distance of the probabilities from the truth.
    BrierScore,
    /// sacreBLEU.
    Bleu,
    /// Character n-gram F score.
    Chrf,
    /// The same with words and pairs of words.
    ChrfPlusPlus,
    /// Translation edit rate.
    Ter,
    /// The share of what is true of all rows; only a function stands for it in task files.
    Truths,
}

use Aggregation::{
    BitsPerByte, Bleu, BrierScore, Bypass, Chrf, ChrfPlusPlus, F1, MatthewsCorrcoef, Mean, Median, Nanmean, Perplexity,
    Ter, Truths, WeightedPerplexity,
};

/// lm-eval's metrics: their name, usual aggregation and direction.
const METRICS: [(&str, Aggregation, bool); 18] = [
    ("acc", Mean, true),
    ("acc_norm", Mean, true),
    ("acc_bytes", Mean, true),
    ("acc_mutual_info", Mean, true),
    ("exact_match", Mean, true),
    ("f1", F1, true),
    ("mcc", MatthewsCorrcoef, true),
    ("brier_score", BrierScore, false),
    ("likelihood", Mean, true),
    ("perplexity", Perplexity, false),
    ("word_perplexity", WeightedPerplexity, false),
    ("byte_perplexity", WeightedPerplexity, false),
    ("bits_per_byte", BitsPerByte, false),
    ("bleu", Bleu, true),
    ("chrf", Chrf, true),
    ("chrf++", ChrfPlusPlus, true),
    ("ter", Ter, false),
    ("bypass", Bypass, true),
];

/// The aggregations that task files name.
const AGGREGATIONS: [(&str, Aggregation); 14] = [
    ("bypass", Bypass),
    ("mean", Mean),
    ("nanmean", Nanmean),
    ("median", Median),
    ("perplexity", Perplexity),
    ("weighted_perplexity", WeightedPerplexity),
    ("bits_per_byte", BitsPerByte),
    ("f1", F1),
    ("matthews_corrcoef", MatthewsCorrcoef),
    ("brier_score", BrierScore),
    ("bleu", Bleu),
    ("chrf", Chrf),
    ("chrf++", ChrfPlusPlus),
    ("ter", Ter),
];

impl Aggregation {
    /// Its name in task files, or that of the function which stands for it there.
    pub fn name(self) -> &'static str {
        let named = AGGREGATIONS.iter().find(|(_, aggregation)| *aggregation == self);
        named.map_or("agg_inst_level_acc", |(name, _)| name)
    }

    /// What a task file says: a name, or a function that has a port.
    fn given(given: Option<Value>, functions: &Functions) -> Result<Self, Refusal> {
        match given.as_ref().map(Field::deserialize) {
            Some(Ok(Field::Function { function })) => match functions.port(&function) {
                Ok(Port::Aggregation(aggregation)) => Ok(aggregation),
                Ok(_) => Err(Refusal::Function { what: "aggregation", name: function.name }),
                Err(why) => Err(Refusal::setting("aggregation", why)),
            },
            _ => Self::named(settings::name("aggregation", given)?),
        }
    }

    fn named(name: String) -> Result<Self, Refusal> {
        let found = AGGREGATIONS.iter().find(|(known, _)| *known == name).map(|(_, aggregation)| *aggregation);
        found.ok_or(Refusal::Unknown { what: "aggregation", name })
    }
}

impl Item {
    /// What a Python function gave for a metric, in the form that the metric's aggregation takes.
    pub fn of(aggregation: Aggregation, value: &Value) -> Result<Self, Refusal> {
        let read = || {
            let pair = value.as_array().filter(|pair| pair.len() == 2);
            let (first, second) = (pair.map(|pair| &pair[0]), pair.map(|pair| &pair[1]));
            let whole = |value: Option<&Value>| value.and_then(|x| x.as_i64().or_else(|| x.as_bool().map(i64::from)));
            let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
            let texts = |value: Option<&Value>| -> Option<Vec<String>> {
                value?.as_array()?.iter().map(|text| text.as_str().map(str::to_owned)).collect()
            };
            match aggregation {
                Bypass => Some(Self::Nothing),
                Mean | Nanmean | Median | Perplexity => {
                    let number = value.as_f64().or_else(|| value.as_bool().map(|b| f64::from(u8::from(b))));
                    // A NaN of Python comes as nothing through JSON.
                    number.or(value.is_null().then_some(f64::NAN)).map(Self::Number)
                }
                WeightedPerplexity | BitsPerByte => Some(Self::Weighted(first?.as_f64()?, second?.as_u64()?)),
                F1 | MatthewsCorrcoef => Some(Self::Labels(whole(first)?, whole(second)?)),
                BrierScore => {
                    let probabilities = second?.as_array()?.iter().map(Value::as_f64).collect::<Option<_>>()?;
                    Some(Self::Probabilities(whole(first)?, probabilities))
                }
                Truths => value.as_array()?.iter().map(Value::as_bool).collect::<Option<_>>().map(Self::Truths),
                Bleu | Chrf | ChrfPlusPlus | Ter => match text(first) {
                    Some(wanted) => Some(Self::Texts(wanted, text(second)?)),
                    None => Some(Self::References(texts(first)?, text(second)?)),
                },
            }
        };
        let name = aggregation.name();
        read().ok_or_else(|| Refusal::values(format!("the aggregation `{name}` does not take a value like `{value}`")))
    }
}

impl Metric {
    /// The metrics of a task, or those of its output type where it names none.
    pub fn read(config: &TaskConfig, functions: &Functions) -> Result<Vec<Self>, Refusal> {
        Self::all(config.output_type, config.metric_list.as_deref(), config.process_results.is_some(), functions)
    }

    /// The metrics of a list as written.
    ///
    /// With `own_rules` a function of the task judges the answers, and names and settings of metrics are its matter.
    pub fn of(output_type: OutputType, metric_list: Option<&[Value]>, own_rules: bool) -> Result<Vec<Self>, Refusal> {
        Self::all(output_type, metric_list, own_rules, &Functions::default())
    }

    fn all(
        output_type: OutputType,
        metric_list: Option<&[Value]>,
        own_rules: bool,
        functions: &Functions,
    ) -> Result<Vec<Self>, Refusal> {
        let usual: &[&str] = match output_type {
            OutputType::Loglikelihood => &["perplexity", "acc"],
            OutputType::LoglikelihoodRolling => &["word_perplexity", "byte_perplexity", "bits_per_byte"],
            OutputType::MultipleChoice => &["acc", "acc_norm"],
            OutputType::GenerateUntil => &["exact_match"],
        };
        let Some(entries) = metric_list else {
            return Ok(usual.iter().filter_map(|name| Self::usual(name)).collect());
        };
        let mut metrics: Vec<Self> = Vec::new();
        for entry in entries {
            // lm-eval asks metrics how a text is judged only where texts are written and no function judges them.
            let judges = output_type == OutputType::GenerateUntil && !own_rules;
            let metric = Self::read_one(entry, own_rules, judges, functions)?;
            match metrics.iter_mut().find(|other| other.name == metric.name) {
                Some(other) => *other = metric,
                None => metrics.push(metric),
            }
        }
        Ok(metrics)
    }

    fn read_one(entry: &Value, own_rules: bool, judges: bool, functions: &Functions) -> Result<Self, Refusal> {
        let mut settings = Settings::new("metric_list", entry)?;
        let name = settings::name("metric", settings.take("metric"))?;
        let mut settings = settings.called(format!("metric `{name}`"));
        let usual = Self::usual(&name);
        let hf_evaluate = settings.take("hf_evaluate") == Some(Value::Bool(true));
        if (usual.is_none() && !own_rules) || (judges && hf_evaluate && name != "exact_match") {
            // The scripts of Hugging Face's evaluate are other people's code from the network.
            return Err(Refusal::Unknown { what: "metric", name });
        }
        let aggregation = match (settings.take("aggregation"), &usual) {
            (None, Some(usual)) => usual.aggregation,
            (None, None) => return Err(settings.wrong("aggregation", "given")),
            (given, _) => Aggregation::given(given, functions)?,
        };
        let higher_is_better = match settings.take("higher_is_better") {
            None => usual.and_then(|usual| usual.higher_is_better),
            Some(given) => given.as_bool(),
        };
        let exact_match = match judges && name == "exact_match" {
            true => ExactMatch::read(settings)?,
            // lm-eval hands the rest to functions that overlook it.
            false => ExactMatch::default(),
        };
        Ok(Self { name, aggregation, higher_is_better, exact_match })
    }

    fn usual(name: &str) -> Option<Self> {
        let (name, aggregation, better) = METRICS.into_iter().find(|(known, ..)| *known == name)?;
        let exact_match = ExactMatch::default();
        Some(Self { name: name.into(), aggregation, higher_is_better: Some(better), exact_match })
    }
}

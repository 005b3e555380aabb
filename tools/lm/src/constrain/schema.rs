//! JSON Schema to a grammar: the part of it that says of every byte whether it may come.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::{
    alternatives::may_both,
    grammar::{ENDLESS, Grammar, Id, Node, Property},
    numbers::{Real, Whole},
};
use crate::error::{Error, Result};

/// Words that say nothing of what is allowed.
const NOTES: [&str; 12] = [
    "title",
    "description",
    "default",
    "examples",
    "$schema",
    "$id",
    "$comment",
    "$defs",
    "definitions",
    "deprecated",
    "readOnly",
    "writeOnly",
];
/// Words about one kind of value.
const OF_OBJECTS: [&str; 5] = ["properties", "required", "additionalProperties", "minProperties", "maxProperties"];
const OF_ARRAYS: [&str; 4] = ["items", "minItems", "maxItems", "uniqueItems"];
const OF_STRINGS: [&str; 2] = ["minLength", "maxLength"];
const OF_NUMBERS: [&str; 4] = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"];
/// The kinds of JSON, in the order in which any value is tried.
const KINDS: [&str; 6] = ["null", "boolean", "number", "string", "array", "object"];
/// Nodes that a schema may become.
const LARGEST: usize = 20_000;
/// How deep a schema may go, references included: each level takes stack.
const DEEPEST: usize = 128;

type Object = Map<String, Value>;

impl Grammar {
    /// JSON that fits a schema. Properties come in the order of the schema, those that it does not name do not come; after a
    /// colon and a comma there may be a blank. What cannot be told byte by byte is refused by its name.
    pub fn of_schema(schema: &Value) -> Result<Self> {
        let mut builder = Builder::new();
        let root = builder.schema(schema)?;
        builder.finish(root)
    }
}

/// Collects nodes.
pub(super) struct Builder {
    nodes: Vec<Node>,
    any: Option<Id>,
}

/// One schema with what its references lead to.
struct Reader<'a> {
    builder: &'a mut Builder,
    whole: &'a Value,
    references: HashMap<String, Id>,
    depth: usize,
}

/// An error that names the place.
fn wrong<T>(at: &str, why: &str) -> Result<T> {
    Err(Error::Schema(format!("#{at}: {why}")))
}

impl Builder {
    pub(super) fn new() -> Self {
        // The first is known to the machine.
        Builder { nodes: vec![Node::Literal(b":"[..].into())], any: None }
    }

    /// The node of a schema.
    pub(super) fn schema(&mut self, schema: &Value) -> Result<Id> {
        let mut reader = Reader { builder: self, whole: schema, references: HashMap::new(), depth: 0 };
        reader.node(schema, "")
    }

    pub(super) fn add(&mut self, node: Node) -> Result<Id> {
        if self.nodes.len() >= LARGEST {
            return Err(Error::Schema(format!("it has more than {LARGEST} parts; make it smaller")));
        }
        self.nodes.push(node);
        Ok(self.nodes.len() as Id - 1)
    }

    pub(super) fn literal(&mut self, text: &str) -> Result<Id> {
        self.add(Node::Literal(text.as_bytes().into()))
    }

    pub(super) fn union(&mut self, choices: Vec<Id>) -> Result<Id> {
        match choices.as_slice() {
            [one] => Ok(*one),
            _ => self.add(Node::Union(choices.into())),
        }
    }

    /// Any value.
    fn any(&mut self) -> Result<Id> {
        if let Some(any) = self.any {
            return Ok(any);
        }
        let any = self.add(Node::Union(Box::default()))?;
        self.any = Some(any);
        let number = Real::new(None, None).ok_or_else(|| Error::Schema("numbers cannot be written".into()))?;
        let words = ["null", "true", "false"].map(|word| Node::Literal(word.as_bytes().into()));
        let others = [
            Node::Real(number),
            Node::Text { least: 0, most: ENDLESS },
            Node::Array { item: any, least: 0, most: ENDLESS },
            Node::Map { value: any, most: ENDLESS },
        ];
        let choices = words.into_iter().chain(others).map(|node| self.add(node)).collect::<Result<Vec<_>>>()?;
        self.nodes[any as usize] = Node::Union(choices.into());
        Ok(any)
    }

    /// The grammar of all nodes.
    pub(super) fn finish(mut self, root: Id) -> Result<Grammar> {
        self.flatten()?;
        let endless = "nothing that ends fits it: something that is required needs itself, or is too long or too deep";
        Grammar::new(self.nodes, root).ok_or_else(|| Error::Schema(endless.into()))
    }

    /// Makes choices of choices one choice, so that no way leads in a circle without reading anything.
    fn flatten(&mut self) -> Result<()> {
        let mut most = 10 * LARGEST;
        let flat = |id: usize, most: &mut usize| {
            let (mut seen, mut open, mut flat) = (HashSet::new(), vec![id as Id], Vec::new());
            while let Some(next) = open.pop() {
                *most = most.checked_sub(1)?;
                match &self.nodes[next as usize] {
                    Node::Union(choices) if seen.insert(next) => open.extend(choices.iter().rev()),
                    Node::Union(_) => {}
                    _ if seen.insert(next) => flat.push(next),
                    _ => {}
                }
            }
            Some(flat)
        };
        let mut unions = Vec::new();
        for (id, node) in self.nodes.iter().enumerate() {
            if matches!(node, Node::Union(_)) {
                let choices = flat(id, &mut most).ok_or_else(|| Error::Schema("its choices are too many".into()))?;
                unions.push((id, choices));
            }
        }
        unions.into_iter().for_each(|(id, choices)| self.nodes[id] = Node::Union(choices.into()));
        Ok(())
    }
}

impl Reader<'_> {
    fn node(&mut self, schema: &Value, at: &str) -> Result<Id> {
        if self.depth >= DEEPEST {
            return wrong(at, &format!("schemas that lead to one another more than {DEEPEST} deep are not supported"));
        }
        self.depth += 1;
        let node = self.read(schema, at);
        self.depth -= 1;
        node
    }

    fn read(&mut self, schema: &Value, at: &str) -> Result<Id> {
        let words = match schema {
            Value::Bool(true) => return self.builder.any(),
            Value::Bool(false) => return self.builder.union(Vec::new()),
            Value::Object(words) => words,
            _ => return wrong(at, "a schema is an object, true or false"),
        };
        let told: Vec<&str> = words.keys().map(String::as_str).filter(|word| !NOTES.contains(word)).collect();
        let alone = |word: &str, with: &[&str]| match told.iter().find(|other| **other != word && !with.contains(other))
        {
            Some(other) => wrong(at, &format!("{other} beside {word} is not supported")),
            None => Ok(()),
        };
        let list = |word: &str, value: &'_ Value| match value.as_array() {
            Some(list) if !list.is_empty() => Ok(list.clone()),
            _ => wrong(at, &format!("{word} is a list of at least one")),
        };
        if let Some(target) = words.get("$ref") {
            alone("$ref", &[])?;
            return self.reference(target, at);
        }
        if let Some(value) = words.get("const") {
            alone("const", &["type"])?;
            return self.values(std::slice::from_ref(value), words, at);
        }
        if let Some(values) = words.get("enum") {
            alone("enum", &["type"])?;
            return self.values(&list("enum", values)?, words, at);
        }
        for word in ["anyOf", "oneOf", "allOf"] {
            let Some(choices) = words.get(word) else { continue };
            alone(word, &[])?;
            let choices = list(word, choices)?;
            self.exactly_one(word, &choices, at)?;
            let each =
                choices.iter().enumerate().map(|(index, choice)| self.node(choice, &format!("{at}/{word}/{index}")));
            let choices = each.collect::<Result<Vec<_>>>()?;
            return self.builder.union(choices);
        }
        self.typed(words, &told, at)
    }

    /// Refuses choices of which more than one, or all, would have to fit.
    fn exactly_one(&self, word: &str, choices: &[Value], at: &str) -> Result<()> {
        let pairs = (0..choices.len()).flat_map(|one| (0..one).map(move |other| (&choices[other], &choices[one])));
        match word {
            "allOf" if choices.len() > 1 => wrong(at, "allOf of more than one schema is not supported"),
            "oneOf" => match pairs.into_iter().any(|(one, other)| may_both(one, other, self.whole)) {
                true => wrong(at, "oneOf whose choices may overlap is not supported; use anyOf"),
                false => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn reference(&mut self, target: &Value, at: &str) -> Result<Id> {
        let Some(pointer) = target.as_str().and_then(|target| target.strip_prefix('#')) else {
            return wrong(at, "a $ref that leads out of the schema is not supported");
        };
        if let Some(id) = self.references.get(pointer) {
            return Ok(*id);
        }
        let Some(schema) = self.whole.pointer(pointer) else {
            return wrong(at, &format!("$ref leads to #{pointer}, which is not there"));
        };
        let id = self.builder.add(Node::Union(Box::default()))?;
        self.references.insert(pointer.to_owned(), id);
        let schema = schema.clone();
        let node = self.node(&schema, pointer)?;
        self.builder.nodes[id as usize] = Node::Union([node].into());
        Ok(id)
    }

    /// These values, as far as they are of the schema's type.
    fn values(&mut self, values: &[Value], words: &Object, at: &str) -> Result<Id> {
        let kinds = kinds(words, at)?;
        let fits = |value: &&Value| kinds.as_ref().is_none_or(|kinds| kinds.iter().any(|kind| is_of(value, kind)));
        let mut literals = Vec::new();
        for value in values.iter().filter(fits) {
            if value.is_array() || value.is_object() {
                return wrong(at, "a list or an object among constants is not supported");
            }
            literals.push(self.builder.literal(&value.to_string())?);
        }
        self.builder.union(literals)
    }

    fn typed(&mut self, words: &Object, told: &[&str], at: &str) -> Result<Id> {
        let groups: [(&[&str], &str); 4] =
            [(&OF_OBJECTS, "object"), (&OF_ARRAYS, "array"), (&OF_STRINGS, "string"), (&OF_NUMBERS, "number")];
        let known = |word: &str| word == "type" || groups.iter().any(|(words, _)| words.contains(&word));
        let given = kinds(words, at)?;
        // A format of numbers says how they are kept; one of texts would have to be checked.
        let texts = given.as_ref().is_none_or(|kinds| kinds.iter().any(|kind| kind == "string"));
        if let Some(word) = told.iter().find(|word| !known(word) && (**word != "format" || texts)) {
            return wrong(at, &format!("{word} is not supported"));
        }
        let meant = || groups.iter().filter(|(group, _)| told.iter().any(|word| group.contains(word)));
        let kinds = given.unwrap_or_else(|| meant().map(|(_, kind)| (*kind).to_owned()).collect());
        if kinds.is_empty() {
            return self.builder.any();
        }
        let choices = kinds.iter().map(|kind| self.of_kind(kind, words, at)).collect::<Result<Vec<_>>>()?;
        self.builder.union(choices)
    }

    fn of_kind(&mut self, kind: &str, words: &Object, at: &str) -> Result<Id> {
        match kind {
            "null" => self.builder.literal("null"),
            "boolean" => {
                let words = [self.builder.literal("true")?, self.builder.literal("false")?];
                self.builder.union(words.into())
            }
            "string" => {
                let (least, most) = bounds(words, ("minLength", "maxLength"), at)?;
                self.builder.add(Node::Text { least, most })
            }
            "array" => self.array(words, at),
            "object" => self.object(words, at),
            _ => {
                let number = number(kind == "integer", words, at)?;
                self.builder.add(number)
            }
        }
    }

    fn array(&mut self, words: &Object, at: &str) -> Result<Id> {
        if words.get("uniqueItems").is_some_and(|unique| *unique != Value::Bool(false)) {
            return wrong(at, "uniqueItems is not supported");
        }
        let (least, most) = bounds(words, ("minItems", "maxItems"), at)?;
        let item = match words.get("items") {
            Some(items) => self.node(items, &format!("{at}/items"))?,
            None => self.builder.any()?,
        };
        self.builder.add(Node::Array { item, least, most })
    }

    fn object(&mut self, words: &Object, at: &str) -> Result<Id> {
        let none = Object::new();
        let properties = match words.get("properties") {
            Some(Value::Object(properties)) => properties,
            Some(_) => return wrong(at, "properties is an object"),
            None => &none,
        };
        let names = |list: &Value| list.as_array()?.iter().map(|name| name.as_str().map(str::to_owned)).collect();
        let mut required: Vec<String> = match words.get("required").map(names) {
            Some(Some(required)) => required,
            Some(None) => return wrong(at, "required is a list of names"),
            None => Vec::new(),
        };
        let mut seen = HashSet::new();
        required.retain(|name| seen.insert(name.clone()));
        let (fewest, most) = bounds(words, ("minProperties", "maxProperties"), at)?;
        let others = words.get("additionalProperties").unwrap_or(&Value::Bool(true));
        let place = format!("{at}/additionalProperties");
        if properties.is_empty() && required.is_empty() && *others != Value::Bool(false) {
            if fewest > 0 {
                return wrong(at, "minProperties is not supported where any names may come");
            }
            let value = self.node(others, &place)?;
            return self.builder.add(Node::Map { value, most });
        }
        let mut all = Vec::new();
        for (name, schema) in properties {
            let value =
                self.node(schema, &format!("{at}/properties/{}", name.replace('~', "~0").replace('/', "~1")))?;
            all.push((name, value, required.contains(name)));
        }
        for name in required.iter().filter(|name| !properties.contains_key(*name)) {
            all.push((name, self.node(others, &place)?, true));
        }
        let needed = all.iter().filter(|(.., required)| *required).count();
        if (fewest as usize) > needed || (most as usize) < all.len() {
            return wrong(at, "minProperties and maxProperties are not supported beside properties");
        }
        let mut made = Vec::new();
        for (name, value, required) in all {
            let key = self.builder.literal(&format!("{}:", Value::from(name.as_str())))?;
            made.push(Property { key, value, required });
        }
        self.builder.add(Node::Object(made.into()))
    }
}

/// The kinds that `type` names; `None` where there is none.
fn kinds(words: &Object, at: &str) -> Result<Option<Vec<String>>> {
    let Some(given) = words.get("type") else { return Ok(None) };
    let list = match given {
        Value::Array(list) => list.as_slice(),
        one => std::slice::from_ref(one),
    };
    let known = |kind: &Value| {
        let kind = kind.as_str().filter(|kind| KINDS.contains(kind) || *kind == "integer");
        kind.map(str::to_owned)
    };
    match list.iter().map(known).collect::<Option<Vec<_>>>() {
        Some(kinds) if !kinds.is_empty() => Ok(Some(kinds)),
        _ => wrong(at, &format!("type {given} is none")),
    }
}

/// Whether a value is of a kind.
pub(super) fn is_of(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        _ => value.is_object(),
    }
}

/// How many there may be.
fn bounds(words: &Object, (least, most): (&str, &str), at: &str) -> Result<(u32, u32)> {
    let count = |word: &str, usual: u32| match words.get(word) {
        None => Ok(usual),
        // Some writers put 3.0 for 3.
        Some(value) => {
            match value.as_u64().or_else(|| value.as_f64().filter(|x| *x >= 0.0 && x.fract() == 0.0).map(|x| x as u64))
            {
                Some(count) => Ok(u32::try_from(count).unwrap_or(ENDLESS)),
                None => wrong(at, &format!("{word} is a whole number from 0")),
            }
        }
    };
    let (low, high) = (count(least, 0)?, count(most, ENDLESS)?);
    if low > high {
        return wrong(at, &format!("{least} is above {most}"));
    }
    Ok((low, high))
}

/// Whole numbers up to here are exact wherever JSON is read; a bound beyond it may stand for another one.
const EXACT: i64 = (1 << 53) - 1;

fn number(whole: bool, words: &Object, at: &str) -> Result<Node> {
    let bound = |word: &str| match words.get(word).map(|value| value.as_f64()) {
        Some(None) => wrong(at, &format!("{word} is a number")),
        Some(given) => Ok(given),
        None => Ok(None),
    };
    let one = |inclusive: &str, exclusive: &str, tighter: fn(f64, f64) -> bool| -> Result<Option<(f64, bool)>> {
        Ok(match (bound(inclusive)?, bound(exclusive)?) {
            (Some(with), Some(without)) if tighter(with, without) => Some((with, false)),
            (_, Some(without)) => Some((without, true)),
            (with, None) => with.map(|with| (with, false)),
        })
    };
    let low = one("minimum", "exclusiveMinimum", |with, without| with > without)?;
    let high = one("maximum", "exclusiveMaximum", |with, without| with < without)?;
    let found = match whole {
        true => {
            let up = |(bound, open): (f64, bool)| {
                (bound.ceil() as i64).saturating_add(i64::from(open && bound.fract() == 0.0))
            };
            let down = |(bound, open): (f64, bool)| {
                (bound.floor() as i64).saturating_sub(i64::from(open && bound.fract() == 0.0))
            };
            let (low, high) = (low.map(|low| up(low).max(-EXACT)), high.map(|high| down(high).min(EXACT)));
            let there = low.is_none_or(|low| low <= EXACT) && high.is_none_or(|high| high >= -EXACT);
            there.then(|| Whole::new(low, high)).flatten().map(Node::Whole)
        }
        false => Real::new(low, high).map(Node::Real),
    };
    found.map_or_else(|| wrong(at, "no number lies between its bounds, or none that can be written"), Ok)
}

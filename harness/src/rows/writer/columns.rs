//! Rows as columns of Parquet: values with the levels that say where lists and missing values stand.

use std::sync::Arc;

use bytes::Bytes;
use parquet::{
    basic::{Compression, IntType, LogicalType, Repetition, Type as Physical},
    column::writer::{ColumnCloseResult, ColumnWriter, get_column_writer},
    data_type::ByteArray,
    errors::Result,
    file::{
        properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr},
        writer::{SerializedPageWriter, TrackedWrite},
    },
    schema::types::{SchemaDescriptor, Type, TypePtr},
};
use serde_json::{Map, Value};

use super::kind::Column;
use crate::recipe::Row;

/// Bytes of a text from which on it is long.
const LONG: usize = 64;
/// The name of a file's root, which no reader looks at.
const ROOT: &str = "schema";

/// What the columns of a file are, and how Parquet says so.
pub(super) struct Schema {
    pub columns: Vec<(String, Column)>,
    pub root: TypePtr,
}

impl Schema {
    /// The schema of a file with these columns.
    pub fn new(columns: Vec<(String, Column)>) -> Result<Schema> {
        let fields = columns.iter().map(|(name, column)| field(name, column)).collect::<Result<_>>()?;
        let root = Arc::new(Type::group_type_builder(ROOT).with_fields(fields).build()?);
        Ok(Schema { columns, root })
    }
}

fn field(name: &str, column: &Column) -> Result<TypePtr> {
    let single = |physical, logical| {
        Type::primitive_type_builder(name, physical)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(logical)
            .build()
    };
    let group = |fields, repetition, logical| {
        Type::group_type_builder(name)
            .with_fields(fields)
            .with_repetition(repetition)
            .with_logical_type(logical)
            .build()
    };
    let field = match column {
        Column::Null => single(Physical::INT32, Some(LogicalType::Unknown))?,
        Column::Bool => single(Physical::BOOLEAN, None)?,
        Column::Int => single(Physical::INT64, None)?,
        Column::UInt => {
            single(Physical::INT64, Some(LogicalType::Integer(IntType { bit_width: 64, is_signed: false })))?
        }
        Column::Float => single(Physical::DOUBLE, None)?,
        Column::Text => single(Physical::BYTE_ARRAY, Some(LogicalType::String))?,
        Column::List(item) => {
            let item = vec![self::field("element", item)?];
            let list =
                Type::group_type_builder("list").with_fields(item).with_repetition(Repetition::REPEATED).build()?;
            group(vec![Arc::new(list)], Repetition::OPTIONAL, Some(LogicalType::List))?
        }
        Column::Struct(fields) => {
            let fields = fields.iter().map(|(name, column)| self::field(name, column)).collect::<Result<_>>()?;
            group(fields, Repetition::OPTIONAL, None)?
        }
    };
    Ok(Arc::new(field))
}

/// One column of a row group, encoded.
pub(super) type Encoded = (Bytes, ColumnCloseResult);

/// How columns are encoded: long texts neither with a dictionary, which they outgrow, nor with a least and a greatest one,
/// which nobody asks for.
pub(super) struct Properties {
    pub usual: WriterPropertiesPtr,
    long: WriterPropertiesPtr,
}

impl Properties {
    /// Those of a file whose pages are compressed in this way.
    pub fn new(packing: Compression) -> Properties {
        let usual = WriterProperties::builder().set_compression(packing).set_created_by("tunesmith".into()).build();
        let long = usual.clone().into_builder().set_dictionary_enabled(false);
        let long = long.set_statistics_enabled(EnabledStatistics::None).build();
        Properties { usual: Arc::new(usual), long: Arc::new(long) }
    }
}

/// Encodes rows as a row group.
pub(super) fn encode(rows: Vec<Row>, schema: &Schema, properties: &Properties) -> Result<Vec<Encoded>> {
    let mut leaves = Vec::new();
    let root: Vec<Node> = schema.columns.iter().map(|(name, column)| Node::new(name, column, &mut leaves)).collect();
    for row in rows {
        fields(&root, row, 0, (0, 0), &mut leaves);
    }
    let descriptor = SchemaDescriptor::new(schema.root.clone());
    let encode = |(at, leaf): (usize, Leaf)| {
        let properties = if leaf.is_long() { &properties.long } else { &properties.usual };
        let mut sink = TrackedWrite::new(Vec::new());
        let pages = Box::new(SerializedPageWriter::new(&mut sink));
        let mut writer = get_column_writer(descriptor.column(at), properties.clone(), pages);
        leaf.write(&mut writer)?;
        let closed = writer.close()?;
        Ok((Bytes::from(sink.into_inner()?), closed))
    };
    leaves.into_iter().enumerate().map(encode).collect()
}

/// The values of one column that is not nested, and their levels.
struct Leaf {
    values: Values,
    defined: Vec<i16>,
    repeated: Vec<i16>,
}

enum Values {
    Null,
    Bool(Vec<bool>),
    Int(Vec<i64>),
    Float(Vec<f64>),
    Text(Vec<ByteArray>),
}

impl Leaf {
    fn of(column: &Column) -> Leaf {
        let values = match column {
            Column::Bool => Values::Bool(Vec::new()),
            Column::Int | Column::UInt => Values::Int(Vec::new()),
            Column::Float => Values::Float(Vec::new()),
            Column::Text => Values::Text(Vec::new()),
            Column::Null | Column::List(_) | Column::Struct(_) => Values::Null,
        };
        Leaf { values, defined: Vec::new(), repeated: Vec::new() }
    }

    /// Takes a value that is not null; the kinds that were seen say of which type it is.
    fn take(&mut self, value: Value) {
        match (&mut self.values, value) {
            (Values::Bool(values), value) => values.push(value == Value::Bool(true)),
            // A column of unsigned numbers has the same bits.
            (Values::Int(values), value) => {
                values.push(value.as_i64().or_else(|| value.as_u64().map(u64::cast_signed)).unwrap_or_default());
            }
            (Values::Float(values), value) => values.push(value.as_f64().unwrap_or_default()),
            (Values::Text(values), Value::String(text)) => values.push(text.into_bytes().into()),
            (Values::Text(values), value) => values.push(value.to_string().into_bytes().into()),
            (Values::Null, _) => {}
        }
    }

    /// Whether it holds texts that are long on average.
    fn is_long(&self) -> bool {
        match &self.values {
            Values::Text(values) => values.iter().map(ByteArray::len).sum::<usize>() > LONG * values.len(),
            _ => false,
        }
    }

    fn write(&self, writer: &mut ColumnWriter<'_>) -> Result<usize> {
        let (defined, repeated) = (Some(&self.defined[..]), Some(&self.repeated[..]));
        match (writer, &self.values) {
            (ColumnWriter::BoolColumnWriter(writer), Values::Bool(values)) => {
                writer.write_batch(values, defined, repeated)
            }
            (ColumnWriter::Int32ColumnWriter(writer), _) => writer.write_batch(&[], defined, repeated),
            (ColumnWriter::Int64ColumnWriter(writer), Values::Int(values)) => {
                writer.write_batch(values, defined, repeated)
            }
            (ColumnWriter::DoubleColumnWriter(writer), Values::Float(values)) => {
                writer.write_batch(values, defined, repeated)
            }
            (ColumnWriter::ByteArrayColumnWriter(writer), Values::Text(values)) => {
                writer.write_batch(values, defined, repeated)
            }
            _ => Ok(0),
        }
    }
}

/// A column with the leaves that belong to it.
struct Node {
    name: String,
    shape: Shape,
    first: usize,
    after: usize,
}

enum Shape {
    Leaf,
    List(Box<Node>),
    Struct(Vec<Node>),
}

impl Node {
    fn new(name: &str, column: &Column, leaves: &mut Vec<Leaf>) -> Node {
        let first = leaves.len();
        let shape = match column {
            Column::List(item) => Shape::List(Box::new(Node::new("", item, leaves))),
            Column::Struct(fields) => {
                Shape::Struct(fields.iter().map(|(name, column)| Node::new(name, column, leaves)).collect())
            }
            column => {
                leaves.push(Leaf::of(column));
                Shape::Leaf
            }
        };
        Node { name: name.to_owned(), shape, first, after: leaves.len() }
    }

    /// Takes a value below `lists` lists, at these levels of definition and repetition.
    fn take(&self, value: Value, lists: i16, (defined, repeated): (i16, i16), leaves: &mut [Leaf]) {
        let mut nothing = |defined: i16| {
            for leaf in &mut leaves[self.first..self.after] {
                leaf.defined.push(defined);
                leaf.repeated.push(repeated);
            }
        };
        match (&self.shape, value) {
            (_, Value::Null) => nothing(defined),
            (Shape::Leaf, value) => {
                nothing(defined + 1);
                leaves[self.first].take(value);
            }
            (Shape::List(_), Value::Array(items)) if items.is_empty() => nothing(defined + 1),
            (Shape::List(node), Value::Array(items)) => {
                for (n, item) in items.into_iter().enumerate() {
                    let repeated = if n == 0 { repeated } else { lists + 1 };
                    node.take(item, lists + 1, (defined + 2, repeated), leaves);
                }
            }
            (Shape::Struct(nodes), Value::Object(object)) => {
                fields(nodes, object, lists, (defined + 1, repeated), leaves)
            }
            (Shape::List(_) | Shape::Struct(_), _) => nothing(defined),
        }
    }
}

fn fields(nodes: &[Node], mut object: Map<String, Value>, lists: i16, levels: (i16, i16), leaves: &mut [Leaf]) {
    // Rows have their keys in one order as a rule.
    if object.len() == nodes.len() && object.keys().zip(nodes).all(|(key, node)| *key == node.name) {
        for (node, (_, value)) in nodes.iter().zip(object) {
            node.take(value, lists, levels, leaves);
        }
        return;
    }
    for node in nodes {
        let value = object.get_mut(&node.name).map_or(Value::Null, Value::take);
        node.take(value, lists, levels, leaves);
    }
}

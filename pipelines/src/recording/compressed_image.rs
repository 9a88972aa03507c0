//! `foxglove.CompressedImage`, the message in which every MCAP viewer looks for a camera's pictures.
//! Fields: <https://docs.foxglove.dev/docs/visualization/message-schemas/compressed-image>.

use std::sync::Arc;

use prost::Message;
use prost::bytes::Bytes;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet, Timestamp};

/// Name of the schema.
pub(super) const SCHEMA: &str = "foxglove.CompressedImage";

#[derive(Clone, PartialEq, Message)]
pub(super) struct CompressedImage {
    #[prost(message, optional, tag = "1")]
    pub(super) timestamp: Option<Timestamp>,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) data: Bytes,
    #[prost(string, tag = "3")]
    pub(super) format: String,
    #[prost(string, tag = "4")]
    pub(super) frame_id: String,
}

impl CompressedImage {
    /// The message for a frame of `camera`; `bytes` are shared, not copied.
    pub(super) fn new(camera: &str, captured_at_us: u64, bytes: &Arc<[u8]>) -> Self {
        Self {
            timestamp: Some(Timestamp {
                seconds: (captured_at_us / 1_000_000) as i64,
                nanos: (captured_at_us % 1_000_000) as i32 * 1000,
            }),
            data: Bytes::from_owner(bytes.clone()),
            format: format_of(bytes).to_owned(),
            frame_id: camera.to_owned(),
        }
    }
}

/// The name of an image format, told by its first bytes; "unknown" where a viewer would not show it either.
fn format_of(bytes: &[u8]) -> &'static str {
    match bytes {
        [0xff, 0xd8, 0xff, ..] => "jpeg",
        [0x89, b'P', b'N', b'G', ..] => "png",
        [b'B', b'M', ..] => "bmp",
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => "tiff",
        _ => "unknown",
    }
}

/// The schema's data: a serialised `FileDescriptorSet`, as MCAP's registry wants it for the encoding "protobuf".
pub(super) fn schema_data() -> Vec<u8> {
    let timestamp = FileDescriptorProto {
        name: Some("google/protobuf/timestamp.proto".to_owned()),
        package: Some("google.protobuf".to_owned()),
        message_type: vec![message(
            "Timestamp",
            vec![field("seconds", 1, Type::Int64), field("nanos", 2, Type::Int32)],
        )],
        syntax: Some("proto3".to_owned()),
        ..FileDescriptorProto::default()
    };
    let captured = FieldDescriptorProto {
        type_name: Some(".google.protobuf.Timestamp".to_owned()),
        ..field("timestamp", 1, Type::Message)
    };
    let image = FileDescriptorProto {
        name: Some("foxglove/CompressedImage.proto".to_owned()),
        package: Some("foxglove".to_owned()),
        dependency: vec!["google/protobuf/timestamp.proto".to_owned()],
        message_type: vec![message(
            "CompressedImage",
            vec![
                captured,
                field("data", 2, Type::Bytes),
                field("format", 3, Type::String),
                field("frame_id", 4, Type::String),
            ],
        )],
        syntax: Some("proto3".to_owned()),
        ..FileDescriptorProto::default()
    };
    FileDescriptorSet {
        file: vec![timestamp, image],
    }
    .encode_to_vec()
}

fn message(name: &str, field: Vec<FieldDescriptorProto>) -> DescriptorProto {
    DescriptorProto {
        name: Some(name.to_owned()),
        field,
        ..DescriptorProto::default()
    }
}

fn field(name: &str, number: i32, kind: Type) -> FieldDescriptorProto {
    FieldDescriptorProto {
        name: Some(name.to_owned()),
        json_name: Some(if name == "frame_id" { "frameId" } else { name }.to_owned()),
        number: Some(number),
        label: Some(Label::Optional.into()),
        r#type: Some(kind.into()),
        ..FieldDescriptorProto::default()
    }
}

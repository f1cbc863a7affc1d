//! Messaging: `messaging.*` and what Brave writes for Kafka and RabbitMQ.

use opentelemetry_proto::tonic::common::v1::any_value::Value;

use super::field::Field;
use crate::model::{Kind, MessagingFacts, MessagingOperation};

/// What the attributes of one span say of messaging.
#[derive(Default)]
pub(super) struct Names<'a> {
    system: Field<'a>,
    operation: Field<'a>,
    operation_name: Field<'a>,
    destination: Field<'a>,
    routing_key: Field<'a>,
    message_id: Field<'a>,
    group: Field<'a>,
    partition: Field<'a>,
    offset: Field<'a>,
    /// Size of the message.
    pub(super) size: Field<'a>,
}

impl<'a> Names<'a> {
    /// Takes an attribute of the namespaces `messaging`, `kafka` and `rabbit`.
    pub(super) fn take(&mut self, key: &str, value: &'a Value) {
        match key {
            "messaging.system" => self.system.current(value),
            "messaging.operation.type" => self.operation.current(value),
            "messaging.operation" => self.operation.former(value),
            "messaging.operation.name" => self.operation_name.current(value),
            "messaging.destination.template" => self.destination.current(value),
            "messaging.destination.name" => self.destination.former(value),
            "messaging.destination" => self.destination.ranked(2, value),
            "kafka.topic" | "rabbit.exchange" => self.destination.ranked(3, value),
            "messaging.url" => self.destination.ranked(5, value),
            "rabbit.queue" => self.destination.ranked(4, value),
            "messaging.rabbitmq.destination.routing_key" => self.routing_key.current(value),
            "messaging.rabbitmq.routing_key" => self.routing_key.former(value),
            "rabbit.routing_key" => self.routing_key.ranked(2, value),
            "messaging.message.id" => self.message_id.current(value),
            "messaging.message_id" => self.message_id.former(value),
            "messaging.consumer.group.name" => self.group.current(value),
            "messaging.destination.subscription.name" => self.group.ranked(3, value),
            "messaging.servicebus.destination.subscription_name" => self.group.ranked(4, value),
            "messaging.kafka.consumer.group"
            | "messaging.kafka.consumer_group"
            | "messaging.rocketmq.client_group"
            | "messaging.eventhubs.consumer.group" => self.group.former(value),
            "messaging.destination.partition.id" => self.partition.current(value),
            "messaging.kafka.destination.partition" => self.partition.former(value),
            "messaging.kafka.partition" => self.partition.ranked(2, value),
            "messaging.kafka.offset" => self.offset.current(value),
            "messaging.kafka.message.offset" => self.offset.former(value),
            "messaging.message.body.size" => self.size.current(value),
            "messaging.message.payload_size_bytes" => self.size.former(value),
            "messaging.message_payload_size_bytes" => self.size.ranked(2, value),
            "messaging.message.envelope.size" => self.size.ranked(3, value),
            _ => {}
        }
    }

    /// A system or a destination makes it messaging.
    pub(super) fn is_present(&self) -> bool {
        self.system.is_some() || self.destination.is_some()
    }

    /// The facts. Where nothing says what is done, the kind of the span does.
    pub(super) fn facts(&self, kind: Kind) -> MessagingFacts {
        let system = self.system.text().map(|system| system.to_ascii_lowercase());
        let destination = self.destination.string();
        let routing_key = self.routing_key.string();
        MessagingFacts {
            operation: self.operation(kind),
            destination_opaque: routing_key.is_none()
                && (system.as_deref() == Some("rabbitmq") || self.destination.age() == Some(5)),
            destination: match (destination, routing_key) {
                (Some(destination), Some(key)) => Some(format!("{destination} {key}")),
                (destination, key) => destination.or(key),
            },
            message_id: self.message_id.string(),
            group: self.group.string(),
            offset: self.partition.string().zip(self.offset.string()),
            system: system.map(|system| match system.as_str() {
                "amazonsqs" => "aws_sqs".to_owned(),
                _ => system,
            }),
        }
    }

    fn operation(&self, kind: Kind) -> Option<MessagingOperation> {
        let said = self.operation.text().or_else(|| self.operation_name.text());
        let known = said.and_then(|word| match word.to_ascii_lowercase().as_str() {
            "send" | "publish" | "create" => Some(MessagingOperation::Send),
            "receive" | "poll" | "pull" => Some(MessagingOperation::Receive),
            "process" | "deliver" | "consume" => Some(MessagingOperation::Process),
            "settle" | "ack" | "nack" | "commit" | "reject" => Some(MessagingOperation::Settle),
            _ => None,
        });
        known.or(match kind {
            Kind::Producer => Some(MessagingOperation::Send),
            Kind::Consumer => Some(MessagingOperation::Process),
            Kind::Internal | Kind::Server | Kind::Client => None,
        })
    }
}

//! Who emitted a span: attributes of the resource.

use std::collections::BTreeMap;
use std::net::IpAddr;

use opentelemetry_proto::tonic::resource::v1;

use super::field::Field;
use crate::model::Resource;

/// Most addresses kept of one host.
const MOST_ADDRESSES: usize = 16;

#[derive(Default)]
struct Names<'a> {
    service: Field<'a>,
    namespace: Field<'a>,
    version: Field<'a>,
    environment: Field<'a>,
    instance_id: Field<'a>,
    pod_uid: Field<'a>,
    pod_name: Field<'a>,
    container_id: Field<'a>,
    host_id: Field<'a>,
    process_id: Field<'a>,
    host_name: Field<'a>,
    node_name: Field<'a>,
    host_ip: Field<'a>,
    pod_ip: Field<'a>,
    language: Field<'a>,
    zone: Field<'a>,
    region: Field<'a>,
}

/// Reads a resource. `aliases` are further names of environments, lower-case.
pub(super) fn read(resource: &v1::Resource, aliases: &BTreeMap<String, String>) -> Resource {
    let mut names = Names::default();
    for attribute in &resource.attributes {
        let Some(value) = attribute.value.as_ref().and_then(|any| any.value.as_ref()) else { continue };
        match attribute.key.as_str() {
            "service.name" => names.service.current(value),
            "service.namespace" => names.namespace.current(value),
            "service.version" => names.version.current(value),
            "deployment.environment.name" => names.environment.current(value),
            "deployment.environment" => names.environment.former(value),
            "service.instance.id" => names.instance_id.current(value),
            "k8s.pod.uid" => names.pod_uid.current(value),
            "k8s.pod.name" => names.pod_name.current(value),
            "container.id" => names.container_id.current(value),
            "host.id" => names.host_id.current(value),
            "process.pid" => names.process_id.current(value),
            "host.name" => names.host_name.current(value),
            "k8s.node.name" => names.node_name.current(value),
            "host.ip" => names.host_ip.current(value),
            "k8s.pod.ip" => names.pod_ip.current(value),
            "telemetry.sdk.language" => names.language.current(value),
            "cloud.availability_zone" => names.zone.current(value),
            "cloud.region" => names.region.current(value),
            _ => {}
        }
    }
    names.resource(aliases)
}

impl Names<'_> {
    fn resource(&self, aliases: &BTreeMap<String, String>) -> Resource {
        let service = self.service.string().unwrap_or_else(|| "unknown_service".to_owned());
        let instance = self.instance();
        let mut addresses = self.host_ip.list();
        let clock_domain = [self.host_id.string(), self.node_name.string()]
            .into_iter()
            .find_map(|id| id)
            .or_else(|| addresses.first().map(ToString::to_string))
            .or_else(|| self.host_name.string())
            .or_else(|| instance.clone())
            .unwrap_or_else(|| service.clone());
        addresses.extend(self.pod_ip.list());
        Resource {
            namespace: self.namespace.string(),
            version: self.version.string(),
            environment: environment(self.environment.string(), aliases),
            language: self.language.string().map(|language| language.to_ascii_lowercase()),
            addresses: addresses
                .iter()
                .filter_map(|text| text.parse::<IpAddr>().ok())
                .take(MOST_ADDRESSES)
                .collect(),
            zone: self.zone.string(),
            region: self.region.string(),
            service,
            instance,
            clock_domain,
        }
    }

    fn instance(&self) -> Option<String> {
        let process = || Some(format!("{}/{}", self.host_id.text()?, self.process_id.text()?));
        self.instance_id
            .string()
            .or_else(|| self.pod_uid.string())
            .or_else(|| self.pod_name.string())
            .or_else(|| self.container_id.string())
            .or_else(process)
            .or_else(|| self.host_name.string())
    }
}

/// One spelling per environment. A test or acceptance environment stays what it is called, but for its case.
fn environment(sent: Option<String>, aliases: &BTreeMap<String, String>) -> String {
    let lower = sent.unwrap_or_default().trim().to_lowercase();
    if let Some(name) = aliases.get(&lower) {
        return name.clone();
    }
    match lower.as_str() {
        "prod" | "prd" | "live" => "production".to_owned(),
        "stg" | "stage" => "staging".to_owned(),
        "dev" => "development".to_owned(),
        _ => lower,
    }
}

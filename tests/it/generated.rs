//! Files that are made from the sources and never edited: `docs/rules/*.md` and `config.example.toml`. `make snap`
//! writes them anew.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use debunk::config::{Config, profile};
use debunk::rules::{Profile, RULES, Rule, Thresholds};

/// Settings that are absent by default, or belong to something that may stand several times.
const EXAMPLES: &str = "
[database]
url_file = \"database.url\"
private_dir = \"/var/lib/debunk\"
[[receivers]]
name = \"operators\"
url = \"https://alerts.example/debunk\"
url_file = \"receiver.url\"
secret_file = \"receiver.secret\"
[[suppress]]
rule = \"*\"
service = \"legacy-*\"
operation = \"*\"
reason = \"decommissioned in May\"
until = \"2026-12-31\"
";

/// Never in a file: passwords.
const ONLY_BY_ENVIRONMENT: &[(&str, &str)] = &[("database", "url")];

#[test]
fn rule_pages_are_generated() {
    let mut expected: BTreeMap<String, String> = BTreeMap::new();
    for rule in RULES {
        expected.insert(format!("{}.md", rule.id), page(rule));
    }
    expected.insert("README.md".to_owned(), index());
    for (name, text) in &expected {
        hold(&Path::new("docs/rules").join(name), text);
    }
    for entry in std::fs::read_dir("docs/rules").unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(expected.contains_key(&name), "docs/rules/{name}: no rule has this page any more");
    }
}

#[test]
fn the_example_of_settings_is_generated() {
    hold(Path::new("config.example.toml"), &example());
}

/// What the example says of a setting is what happens without it.
#[test]
fn the_example_holds_the_defaults() {
    let text = example();
    let kept: Vec<&str> = text.split("\n#[[receivers]]").next().unwrap().lines().collect();
    let examples: toml::Table = EXAMPLES.parse().unwrap();
    let mut section = String::new();
    let mut settings = String::new();
    for line in kept {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
        }
        let line = line.strip_prefix('#').filter(|rest| !rest.starts_with([' ', '\n'])).unwrap_or(line);
        let key = line.split(" = ").next().unwrap_or_default();
        if examples.get(&section).and_then(|of_section| of_section.get(key)).is_none() {
            writeln!(settings, "{line}").unwrap();
        }
    }
    let read: Config = toml::from_str(&settings).unwrap_or_else(|error| panic!("{error}\n{settings}"));
    assert_eq!(toml::to_string(&read).unwrap(), toml::to_string(&Config::default()).unwrap());
}

/// Compares a file with what it should be, or writes it.
fn hold(path: &Path, text: &str) {
    #[expect(clippy::disallowed_methods, reason = "tests are told by the environment, as insta is")]
    let rewrite = std::env::var("INSTA_UPDATE").is_ok_and(|mode| mode == "always");
    if rewrite {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(found == text, "{} is not what the sources say: run `make snap`", path.display());
}

fn page(rule: &Rule) -> String {
    let mut text = format!(
        "<!-- Generated from src/rules/{}/{}.rs by `make snap`; never edited. -->\n\n# {}\n\nFallacy: {}.\n\n",
        rule.fallacy.id(),
        rule.id,
        rule.id,
        rule.fallacy.title().to_lowercase()
    );
    text.push_str(rule.page().trim_end());
    let head = "| balanced | strict | explore | |\n|---|---|---|---|---|";
    writeln!(text, "\n\n## Thresholds\n\n| `[rules.{}]` {head}", rule.id).unwrap();
    let docs = fields(rule.source(), "Thresholds");
    let defaults = rule.thresholds(&Thresholds::default());
    let defaults = defaults.as_object().unwrap();
    assert_eq!(docs.len(), defaults.len(), "{}: thresholds and their documentation differ", rule.id);
    for (key, doc) in docs {
        let default = defaults.get(&key).unwrap_or_else(|| panic!("{}: {key} has no default", rule.id));
        write!(text, "| `{key}` | `{default}` |").unwrap();
        for profile in [Profile::Strict, Profile::Explore] {
            let all = rule.thresholds(&profile::defaults(profile).rules);
            let changed = Some(&all[&key]).filter(|value| *value != default);
            write!(text, "{} |", changed.map(|value| format!(" `{value}`")).unwrap_or_default()).unwrap();
        }
        writeln!(text, " {} |", doc.join(" ")).unwrap();
    }
    text
}

fn index() -> String {
    let mut text = String::from(
        "<!-- Generated from src/rules by `make snap`; never edited. -->\n\n# Rules\n\n| rule | fallacy | |\n|---|---|---|\n",
    );
    for rule in RULES {
        let fallacy = rule.fallacy.title().to_lowercase();
        writeln!(text, "| [`{0}`]({0}.md) | {fallacy} | {1} |", rule.id, rule.title()).unwrap();
    }
    text
}

/// Public fields of a struct with their documentation, in order.
fn fields(source: &str, name: &str) -> Vec<(String, Vec<String>)> {
    let mut lines =
        source.lines().skip_while(|line| !line.starts_with(&format!("pub struct {name} {{"))).skip(1);
    let mut docs = Vec::new();
    let mut fields = Vec::new();
    for line in lines.by_ref().take_while(|line| *line != "}") {
        let line = line.trim();
        if let Some(doc) = line.strip_prefix("///") {
            docs.push(doc.trim().to_owned());
        } else if let Some(field) = line.strip_prefix("pub ").and_then(|rest| rest.split_once(':')) {
            assert!(!docs.is_empty(), "{name}.{}: undocumented", field.0);
            fields.push((field.0.to_owned(), std::mem::take(&mut docs)));
        }
    }
    assert!(!fields.is_empty(), "no struct {name}");
    fields
}

fn example() -> String {
    let (config, section) =
        (include_str!("../../src/config.rs"), include_str!("../../src/config/section.rs"));
    let receiver = include_str!("../../src/config/receiver.rs");
    let suppression = include_str!("../../src/config/suppression.rs");
    let defaults = toml::Table::try_from(Config::default()).unwrap();
    let examples: toml::Table = EXAMPLES.parse().unwrap();
    let mut text = String::from(
        "# Settings of Debunk, each with its default. Generated from the sources by `make snap`; copy to debunk.toml and\n\
         # take the `#` away from what should differ. The environment wins over the file: DEBUNK_SECTION__KEY, such as\n\
         # DEBUNK_OTLP__MAX_REQUEST=8MiB. Secrets come only from files named `…_file` or from the environment.\n",
    );
    for (name, doc) in fields(config, "Config") {
        match name.as_str() {
            "rules" => rules(&mut text, &doc),
            "receivers" => list(&mut text, &name, &fields(receiver, "Receiver"), &doc, &examples),
            "suppress" => list(&mut text, &name, &fields(suppression, "Suppression"), &doc, &examples),
            _ => {
                writeln!(text, "\n# {}\n[{name}]", doc.join(" ")).unwrap();
                let known = defaults[&name].as_table().unwrap();
                let absent = examples.get(&name).and_then(toml::Value::as_table);
                settings(&mut text, &name, &fields(section, &capital(&name)), &[Some(known), absent]);
            }
        }
    }
    text
}

fn rules(text: &mut String, doc: &[String]) {
    writeln!(text, "\n# {}\n[rules]", doc.join(" ")).unwrap();
    let profile = toml::Table::from_iter([("profile".to_owned(), Profile::default().id().into())]);
    let documented: Vec<_> = include_str!("../../src/rules/mod.rs")
        .lines()
        .skip_while(|line| !line.contains("pub struct Thresholds {"))
        .map_while(|line| Some(line.trim()).filter(|line| !line.starts_with("$(")))
        .filter_map(|line| line.strip_prefix("/// "))
        .map(ToOwned::to_owned)
        .collect();
    settings(text, "rules", &[("profile".to_owned(), documented)], &[Some(&profile)]);
    for rule in RULES {
        writeln!(text, "\n# {}.\n[rules.{}]", rule.title(), rule.id).unwrap();
        let defaults: toml::Table = serde_json::from_value(rule.thresholds(&Thresholds::default())).unwrap();
        settings(text, rule.id, &fields(rule.source(), "Thresholds"), &[Some(&defaults)]);
    }
}

/// An entry of a list has no default; one with only what it must have shows the rest.
fn list(
    text: &mut String,
    name: &str,
    fields: &[(String, Vec<String>)],
    doc: &[String],
    examples: &toml::Table,
) {
    let shown = examples[name][0].as_table().unwrap();
    let mut needed = shown.clone();
    needed.remove("url_file");
    let one = toml::Table::from_iter([(name.to_owned(), vec![needed].into())]);
    let read: Config = one.try_into().unwrap();
    let known = toml::Table::try_from(read).unwrap()[name][0].as_table().unwrap().clone();
    writeln!(text, "\n# {} May stand several times.\n#[[{name}]]", doc.join(" ")).unwrap();
    settings(text, name, fields, &[Some(&known), Some(shown)]);
}

/// `# documentation` and `#key = default` for each field; the first table that has a key gives its value.
fn settings(
    text: &mut String,
    section: &str,
    fields: &[(String, Vec<String>)],
    values: &[Option<&toml::Table>],
) {
    for (key, doc) in fields {
        if ONLY_BY_ENVIRONMENT.contains(&(section, key)) {
            continue;
        }
        let value = values.iter().flatten().find_map(|table| table.get(key));
        let value = value.unwrap_or_else(|| panic!("{section}.{key} has neither default nor example"));
        for line in doc {
            writeln!(text, "# {line}").unwrap();
        }
        writeln!(text, "#{key} = {}", inline(value)).unwrap();
    }
}

/// One line, tables included.
fn inline(value: &toml::Value) -> String {
    match value {
        toml::Value::Table(table) => {
            let pairs: Vec<_> =
                table.iter().map(|(key, value)| format!("{key} = {}", inline(value))).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        other => other.to_string(),
    }
}

fn capital(name: &str) -> String {
    let (first, rest) = name.split_at(1);
    first.to_uppercase() + rest
}

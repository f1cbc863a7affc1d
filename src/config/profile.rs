//! What a profile stands for: settings that take the place of defaults, and never of what somebody set.

use super::Config;
use crate::rules::Profile;

/// The settings that a profile changes, as they would stand in a file.
pub fn settings(profile: Profile) -> toml::Table {
    let text = match profile {
        Profile::Strict => include_str!("profiles/strict.toml"),
        Profile::Balanced => "",
        Profile::Explore => include_str!("profiles/explore.toml"),
    };
    toml::from_str(text).expect("a test reads each of them")
}

/// All settings of a profile where nothing else is set.
pub fn defaults(profile: Profile) -> Config {
    let mut config: Config = settings(profile).try_into().expect("a test reads each of them");
    config.rules.profile = profile;
    config
}

/// What was set, over what its profile stands for. It must be well-formed by itself.
pub(super) fn completed(set: toml::Table) -> Result<Config, toml::de::Error> {
    let profile = set.clone().try_into::<Config>()?.rules.profile;
    let mut table = settings(profile);
    lay(&mut table, set);
    table.try_into()
}

/// Lays one table over another.
fn lay(below: &mut toml::Table, above: toml::Table) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(toml::Value::Table(known)), toml::Value::Table(value)) => lay(known, value),
            (_, value) => drop(below.insert(key, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Config {
        completed(text.parse().unwrap()).unwrap()
    }

    #[test]
    fn every_profile_can_be_read_and_balanced_is_the_default() {
        for profile in Profile::ALL {
            let config = read(&format!("[rules]\nprofile = \"{}\"", profile.id()));
            assert_eq!(config.rules.profile, profile);
            assert_eq!(toml::to_string(&config).unwrap(), toml::to_string(&defaults(profile)).unwrap());
        }
        let balanced = toml::to_string(&defaults(Profile::Balanced)).unwrap();
        assert_eq!(balanced, toml::to_string(&Config::default()).unwrap());
        assert_eq!(balanced, toml::to_string(&read("")).unwrap());
    }

    #[test]
    fn what_is_set_wins_over_the_profile_and_the_rest_is_the_profiles() {
        let set =
            "[findings]\ngate_high = 7\n[rules]\nprofile = \"explore\"\n[rules.n_plus_one]\nmin_repeats = 9";
        let config = read(set);
        assert_eq!((config.findings.gate_high, config.findings.gate_medium), (7, 1));
        let rule = crate::rules::find("n_plus_one").unwrap();
        let (mine, theirs) =
            (rule.thresholds(&config.rules), rule.thresholds(&defaults(Profile::Explore).rules));
        assert_eq!((&mine["min_repeats"], &mine["min_total"]), (&9.into(), &theirs["min_total"]));
    }

    /// A profile changes numbers and nothing else, each to another value than the default's.
    #[test]
    fn a_profile_holds_no_default() {
        let known = toml::Table::try_from(Config::default()).unwrap();
        for profile in [Profile::Strict, Profile::Explore] {
            for (section, keys) in settings(profile) {
                differs(&known[&section], &keys, &format!("{}: {section}", profile.id()));
            }
        }
    }

    fn differs(default: &toml::Value, set: &toml::Value, place: &str) {
        match (default, set) {
            (toml::Value::Table(default), toml::Value::Table(set)) => {
                for (key, value) in set {
                    differs(&default[key], value, &format!("{place}.{key}"));
                }
            }
            (default, set) => assert_ne!(default, set, "{place}"),
        }
    }
}

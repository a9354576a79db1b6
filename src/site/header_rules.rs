//! Header fields that the configuration gives to answers.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Fields to set or to take away, in the place of what the answer says itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderRules(Vec<(HeaderName, Option<HeaderValue>)>);

impl HeaderRules {
    /// Sets each field that has a value, and takes away the others.
    pub fn new(rules: impl IntoIterator<Item = (HeaderName, Option<HeaderValue>)>) -> Self {
        Self(rules.into_iter().collect())
    }

    /// Applies the rules to the fields of an answer. What an answer varies by is only added to.
    pub fn apply(&self, fields: &mut HeaderMap) {
        for (name, value) in &self.0 {
            match value {
                Some(value) if name == header::VARY => {
                    fields.append(name, value.clone());
                }
                Some(value) => {
                    fields.insert(name, value.clone());
                }
                None => {
                    fields.remove(name);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_set_replace_add_and_take_away() {
        let value = |text| Some(HeaderValue::from_static(text));
        let rules = HeaderRules::new([
            (header::CACHE_CONTROL, value("no-cache")),
            (header::SERVER, None),
            (header::VARY, value("cookie")),
        ]);
        let mut fields = HeaderMap::new();
        fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=1"));
        fields.insert(header::SERVER, HeaderValue::from_static("x"));
        fields.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        rules.apply(&mut fields);
        assert_eq!(fields[header::CACHE_CONTROL], "no-cache");
        assert!(!fields.contains_key(header::SERVER));
        let vary: Vec<_> = fields.get_all(header::VARY).iter().collect();
        assert_eq!(vary, ["accept-encoding", "cookie"]);
    }
}

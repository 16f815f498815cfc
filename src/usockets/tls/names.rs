//! Server names (SNI, RFC 6066 section 3) and the patterns that stand for several of them.

use std::collections::HashMap;

/// Patterns, each with what belongs to it. A pattern is a host name in which any label may be `*`, which stands for one label.
pub(super) struct Names<V> {
    root: Node<V>,
}

/// What lies under one ending of a name: under `com`, under `example.com` …
struct Node<V> {
    value: Option<V>,
    below: HashMap<Box<str>, Self>,
}

impl<V> Default for Node<V> {
    fn default() -> Self {
        Self { value: None, below: HashMap::new() }
    }
}

impl<V> Default for Names<V> {
    fn default() -> Self {
        Self { root: Node::default() }
    }
}

/// A pattern as it is kept: in lower case, without the dot of the root. `None` if it is none.
pub(super) fn normal(pattern: &str) -> Option<String> {
    let name = pattern.strip_suffix('.').unwrap_or(pattern);
    let is_label = |label: &str| {
        label == "*"
            || (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    // RFC 1035, section 2.3.4.
    (name.len() <= 253 && name.split('.').all(is_label)).then(|| name.to_ascii_lowercase())
}

impl<V> Names<V> {
    /// Adds a pattern, in its [`normal`] form, or gives it another value.
    pub(super) fn set(&mut self, pattern: &str, value: V) {
        let mut node = &mut self.root;
        for label in pattern.rsplit('.') {
            node = node.below.entry(label.into()).or_default();
        }
        node.value = Some(value);
    }

    /// Removes exactly this pattern. Whether it was there.
    pub(super) fn remove(&mut self, pattern: &str) -> bool {
        fn below<'a, V>(node: &mut Node<V>, mut labels: impl Iterator<Item = &'a str>) -> bool {
            let Some(label) = labels.next() else { return node.value.take().is_some() };
            let Some(child) = node.below.get_mut(label) else { return false };
            let removed = below(child, labels);
            if child.value.is_none() && child.below.is_empty() {
                node.below.remove(label);
            }
            removed
        }
        below(&mut self.root, pattern.rsplit('.'))
    }

    /// What belongs to a name, given in lower case. A label by itself goes before `*`, and those on the right go first: for
    /// `a.b.c` the pattern `*.b.c` is preferred to `a.*.c`.
    pub(super) fn find(&self, name: &str) -> Option<&V> {
        fn below<'n, 'a, V>(node: &'n Node<V>, mut labels: impl Iterator<Item = &'a str> + Clone) -> Option<&'n V> {
            let Some(label) = labels.next() else { return node.value.as_ref() };
            let found = node.below.get(label).and_then(|node| below(node, labels.clone()));
            found.or_else(|| node.below.get("*").and_then(|node| below(node, labels)))
        }
        below(&self.root, name.strip_suffix('.').unwrap_or(name).rsplit('.'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(patterns: &[&'static str]) -> Names<&'static str> {
        let mut names = Names::default();
        patterns.iter().for_each(|pattern| names.set(&normal(pattern).unwrap(), *pattern));
        names
    }

    #[test]
    fn a_name_finds_the_closest_pattern() {
        let names = names(&["a.example.com", "*.example.com", "*.b.example.com", "c.*.example.com", "*", "x.y"]);
        for (name, found) in [
            ("a.example.com", Some("a.example.com")),
            ("z.example.com", Some("*.example.com")),
            ("q.b.example.com", Some("*.b.example.com")),
            ("c.b.example.com", Some("*.b.example.com")),
            ("c.d.example.com", Some("c.*.example.com")),
            ("d.d.example.com", None),
            ("example.com", None),
            ("localhost", Some("*")),
            ("localhost.", Some("*")),
            ("y", Some("*")),
            ("x.y", Some("x.y")),
            ("", Some("*")),
        ] {
            assert_eq!(names.find(name).copied(), found, "{name}");
        }
    }

    #[test]
    fn a_removed_pattern_is_found_no_more_and_leaves_nothing() {
        let mut names = names(&["*.example.com", "a.example.com"]);
        assert!(!names.remove("example.com"));
        assert!(!names.remove("b.example.com"), "that is a name, not a pattern");
        assert!(names.remove("a.example.com"));
        assert_eq!(names.find("a.example.com").copied(), Some("*.example.com"));
        assert!(names.remove("*.example.com"));
        assert!(!names.remove("*.example.com"));
        assert_eq!(names.find("a.example.com"), None);
        assert!(names.root.below.is_empty());
    }

    #[test]
    fn a_pattern_set_again_has_the_new_value() {
        let mut names = Names::default();
        names.set("a.b", 1);
        names.set("a.b", 2);
        assert_eq!(names.find("a.b"), Some(&2));
    }

    #[test]
    fn what_is_no_pattern_is_told() {
        assert_eq!(normal("*.Example.COM.").as_deref(), Some("*.example.com"));
        let long = format!("{}.com", "a".repeat(64));
        let whole = vec!["a".repeat(62); 5].join(".");
        for bad in ["", ".", "a..b", ".a", "a b.c", "ex*mple.com", "é.com", &long, &whole] {
            assert_eq!(normal(bad), None, "{bad}");
        }
    }
}

//! The order of a listing, as its query asks for it.

use std::cmp::Ordering;

use crate::files::listing::Entry;

/// What a listing is sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Name,
    Type,
    Size,
    Date,
}

/// A column and a direction. Directories come before files either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Order {
    pub column: Column,
    pub is_descending: bool,
}

impl Column {
    /// All of them, as they stand in the page.
    pub const ALL: [Self; 4] = [Self::Name, Self::Type, Self::Size, Self::Date];

    /// Its name in a query.
    pub fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Type => "type",
            Self::Size => "size",
            Self::Date => "date",
        }
    }
}

impl Order {
    /// The order that a query such as `sort=size&order=desc` asks for; by name where it does not.
    pub fn of(query: &str) -> Self {
        let value_of = |wanted: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs
                .find(|(name, _)| *name == wanted)
                .map(|(_, value)| value)
        };
        let column = value_of("sort").and_then(|value| {
            let mut columns = Column::ALL.into_iter();
            columns.find(|column| column.name() == value)
        });
        Self {
            column: column.unwrap_or(Column::Name),
            is_descending: value_of("order") == Some("desc"),
        }
    }

    /// The order that choosing a column leads to: the other way round if it is the column already.
    pub fn choosing(self, column: Column) -> Self {
        Self {
            column,
            is_descending: self.column == column && !self.is_descending,
        }
    }

    /// The query that asks for this order.
    pub fn query(self) -> String {
        let order = if self.is_descending { "desc" } else { "asc" };
        format!("sort={}&order={order}", self.column.name())
    }

    /// Sorts; what is equal in the column is sorted by name.
    pub fn sort(self, entries: &mut [Entry]) {
        entries.sort_by(|one, other| {
            let directories = other.is_directory.cmp(&one.is_directory);
            let column = self.compare(one, other);
            directories
                .then(if self.is_descending {
                    column.reverse()
                } else {
                    column
                })
                .then_with(|| one.name.cmp(&other.name))
        });
    }

    fn compare(self, one: &Entry, other: &Entry) -> Ordering {
        match self.column {
            Column::Name => one.name.cmp(&other.name),
            Column::Type => one.media_type.cmp(&other.media_type),
            // The size of a directory's own list means nothing to people.
            Column::Size if one.is_directory => Ordering::Equal,
            Column::Size => one.size.cmp(&other.size),
            Column::Date => one.modified.cmp(&other.modified),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(query: &str) -> String {
        let entry = |name: &str, media_type: &str, size, modified| Entry {
            name: name.into(),
            is_directory: media_type.is_empty(),
            media_type: media_type.into(),
            size,
            modified,
        };
        let mut entries = [
            entry("b", "text/css", 1, 30),
            entry("a", "text/plain", 2, 20),
            entry("c", "text/css", 3, 10),
            entry("e", "", 4096, 5),
            entry("d", "", 8192, 6),
        ];
        Order::of(query).sort(&mut entries);
        entries
            .iter()
            .map(|e| String::from_utf8_lossy(&e.name))
            .collect()
    }

    #[test]
    fn each_column_sorts_both_ways_and_directories_come_first() {
        for (query, expected) in [
            ("", "deabc"),
            ("sort=name&order=desc", "edcba"),
            ("sort=type&order=asc", "debca"),
            ("sort=type&order=desc", "deabc"),
            ("order=asc&sort=size", "debac"),
            ("sort=size&order=desc", "decab"),
            ("sort=date", "edcab"),
            ("sort=date&order=desc", "debac"),
            ("sort=nothing&order=sideways&&=", "deabc"),
        ] {
            assert_eq!(sorted(query), expected, "{query}");
        }
    }

    #[test]
    fn the_query_of_an_order_asks_for_it() {
        for column in Column::ALL {
            let order = Order::of("").choosing(column);
            assert_eq!(Order::of(&order.query()), order);
            let again = order.choosing(column);
            assert_ne!(again.is_descending, order.is_descending);
        }
    }
}

//! Queries by type and tag, answered from sorted lists of event numbers, one a term.

use std::borrow::Cow;
use std::ops::Range;

use annals_core::{EventQuery, QueryItem};

use super::hash::Term;

type Numbers<'a> = Cow<'a, [u32]>;

/// An item of a query as lists: an event matches that stands in all of `all` and, where it is given, in one of `any`.
/// One of them is given.
struct Operands<'a> {
    all: Vec<Numbers<'a>>,
    any: Option<Vec<Numbers<'a>>>,
}

/// A query as lists. It is not one that matches every event.
pub(crate) struct Lists<'a>(Vec<Operands<'a>>);

impl<'a> Lists<'a> {
    /// Looks the terms up; `list` answers an empty list for a term that has none. Items that cannot match ask for no more
    /// lists than tell that.
    pub(crate) fn of<E>(
        query: &EventQuery,
        mut list: impl FnMut(Term<'_>) -> Result<Numbers<'a>, E>,
    ) -> Result<Lists<'a>, E> {
        let mut operands = Vec::new();
        for item in &query.items {
            operands.extend(Operands::of(item, &mut list)?);
        }
        Ok(Lists(operands))
    }

    /// The last matching number, not below `from`.
    pub(crate) fn last(&self, from: u32) -> Option<u32> {
        self.0.iter().filter_map(|operands| operands.last(from)).max()
    }

    /// All matching numbers in the range, in order.
    pub(crate) fn all(&self, range: Range<u32>) -> Vec<u32> {
        let mut numbers: Vec<_> =
            self.0.iter().flat_map(|operands| operands.all(range.clone())).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }
}

impl<'a> Operands<'a> {
    fn of<E>(
        item: &QueryItem,
        list: &mut impl FnMut(Term<'_>) -> Result<Numbers<'a>, E>,
    ) -> Result<Option<Operands<'a>>, E> {
        let mut all = Vec::with_capacity(item.tags.len());
        for tag in &item.tags {
            let numbers = list(Term::Tag(tag))?;
            if numbers.is_empty() {
                return Ok(None);
            }
            all.push(numbers);
        }
        // The shortest list leads.
        all.sort_by_key(|numbers| numbers.len());
        let mut any = None;
        if !item.types.is_empty() {
            let types = item.types.iter().map(|name| list(Term::Type(name.as_str())));
            any = Some(types.collect::<Result<Vec<_>, E>>()?);
        }
        Ok(Some(Operands { all, any }))
    }

    fn admits(&self, number: u32) -> bool {
        let in_list = |numbers: &Numbers<'_>| numbers.binary_search(&number).is_ok();
        self.all.iter().skip(1).all(in_list)
            && self.any.as_ref().is_none_or(|any| any.iter().any(in_list))
    }

    fn last(&self, from: u32) -> Option<u32> {
        if let Some(shortest) = self.all.first() {
            let late = shortest.iter().rev().take_while(|number| **number >= from);
            return late.copied().find(|number| self.admits(*number));
        }
        let lasts = self.any.iter().flatten().filter_map(|numbers| numbers.last().copied());
        lasts.filter(|number| *number >= from).max()
    }

    fn all(&self, range: Range<u32>) -> Vec<u32> {
        let within = |numbers: &Numbers<'_>| {
            let from = numbers.partition_point(|number| *number < range.start);
            let to = numbers.partition_point(|number| *number < range.end);
            numbers[from..to].to_vec()
        };
        match self.all.first() {
            Some(shortest) => {
                let mut numbers = within(shortest);
                numbers.retain(|number| self.admits(*number));
                numbers
            }
            None => self.any.iter().flatten().flat_map(within).collect(),
        }
    }
}

#[cfg(not(schedules))]
#[cfg(test)]
mod tests {
    use super::*;
    use annals_core::EventType;
    use proptest::prelude::*;
    use std::convert::Infallible;

    fn event_type(number: u8) -> EventType {
        EventType::new(format!("t.{number}")).expect("it is a name")
    }

    proptest! {
        /// Against the definition: an item matches where one of its types and all of its tags do.
        #[test]
        fn lists_answer_as_the_definition_does(
            events in prop::collection::vec((0_u8..3, prop::collection::btree_set(0_u8..4, 0..3)), 1..40),
            items in prop::collection::vec(
                (prop::collection::vec(0_u8..4, 0..3), prop::collection::btree_set(0_u8..5, 0..3)), 1..4),
            from in 0_u32..40,
        ) {
            let query = EventQuery {
                items: items
                    .into_iter()
                    .filter(|(types, tags)| !types.is_empty() || !tags.is_empty())
                    .map(|(types, tags)| QueryItem {
                        types: types.into_iter().map(event_type).collect(),
                        tags: tags.into_iter().map(|tag| tag.to_string()).collect(),
                    })
                    .collect(),
            };
            let matching = |(number, (of_type, tags)): (u32, &(u8, std::collections::BTreeSet<u8>))| {
                let fits = query.items.iter().any(|item| {
                    (item.types.is_empty() || item.types.contains(&event_type(*of_type)))
                        && item.tags.iter().all(|tag| tags.iter().any(|own| own.to_string() == *tag))
                });
                fits.then_some(number)
            };
            let expected: Vec<u32> =
                (0_u32..).zip(&events).filter_map(matching).filter(|number| *number >= from).collect();
            let lists = Lists::of::<Infallible>(&query, |term| {
                let has = |(of_type, tags): &(u8, std::collections::BTreeSet<u8>)| match term {
                    Term::Type(name) => event_type(*of_type).as_str() == name,
                    Term::Tag(tag) => tags.iter().any(|own| own.to_string() == tag),
                    Term::Stream(_) => false,
                };
                Ok((0_u32..).zip(&events).filter(|(_, event)| has(event)).map(|(n, _)| n).collect())
            }).unwrap();
            prop_assert_eq!(lists.last(from), expected.last().copied());
            prop_assert_eq!(lists.all(from..u32::MAX), expected);
        }
    }
}

//! How much a group takes in, and gives to consumers that take nothing.

use super::*;

#[tokio::test]
async fn a_group_reads_ahead_no_further_than_its_buffer() {
    for world in World::both() {
        let asked = asked("s");
        world.write("s", 0..300).await;
        world.groups.create(&asked).await.expect("a group");
        let consumer = world.join(&asked, 5).await;
        let filled = async {
            loop {
                let state = consumer.group.describe().await.expect("the group").description;
                assert!(state.waiting <= 50 && state.in_flight <= 5, "{state:?}");
                if state.waiting == 50 {
                    return state.reached;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert_eq!(timeout(LIMIT, filled).await.expect("a full buffer"), Some(54));
    }
}

#[tokio::test]
async fn a_consumer_that_takes_nothing_is_given_no_more_until_it_does() {
    for world in World::both() {
        let timeout_soon = Some(Duration::from_millis(20));
        let settings = Settings { message_timeout: timeout_soon, max_retry_count: 9, ..settings() };
        let asked = Asked { settings, ..asked("s") };
        world.write("s", 0..3).await;
        world.groups.create(&asked).await.expect("a group");
        let mut consumer = world.join(&asked, 1).await;
        tokio::time::sleep(Duration::from_millis(400)).await;
        world.parked(&asked, 0).await;
        let mut seen = Vec::new();
        while seen != [0, 1, 2] {
            let number = consumer.numbers(1).await[0];
            if !seen.contains(&number) {
                seen.push(number);
            }
        }
    }
}

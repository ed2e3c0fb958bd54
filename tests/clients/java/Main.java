import java.util.LinkedHashMap;
import java.util.Map;

/**
 * KurrentDB's Java client against the server at HOST:PORT: every check in turn, with a line `ok NAME` for each that passes.
 * At the first one that fails it says why and ends with 1. With a word behind the address, only the checks with it in
 * their names.
 */
final class Main {
    /** What one check does with the server at this address. */
    interface Check {
        void on(String address) throws Exception;
    }

    private static Map<String, Check> checks() {
        Map<String, Check> checks = new LinkedHashMap<>();
        checks.put("appends meet what they expect", Appends::expectations);
        checks.put("wrong expectations are told", Appends::wrongExpectations);
        checks.put("repetitions write nothing twice", Appends::repetitions);
        checks.put("an append of many events is one", Appends::manyEvents);
        checks.put("many appends run at once", Appends::manyAppends);
        checks.put("large events come back whole", Appends::largeEvents);
        checks.put("streams are read both ways", Reads::streams);
        checks.put("all events are read both ways", Reads::allEvents);
        checks.put("links are followed", Reads::links);
        checks.put("filters choose by type and stream", Reads::filters);
        checks.put("missing streams are told", Reads::missingStreams);
        checks.put("deleted streams are told from tombstones", Deletions::deletedAndTombstoned);
        checks.put("metadata hides events", Deletions::metadata);
        checks.put("a subscription goes live under load", Subscriptions::liveUnderLoad);
        checks.put("a filtered subscription goes on behind its checkpoint", Subscriptions::checkpoints);
        checks.put("a subscription says when it has caught up", Subscriptions::caughtUp);
        checks.put("a cancelled or late call ends", Subscriptions::cancelledAndLate);
        checks.put("consumers of a group share its events", Groups::shared);
        checks.put("events are retried, parked and replayed", Groups::retriedAndParked);
        checks.put("a group reads all events", Groups::allEvents);
        checks.put("groups are listed, changed and deleted", Groups::listedAndChanged);
        checks.put("a group's errors are told", GroupErrors::told);
        checks.put("appends over several streams are one", Transactions::severalStreams);
        checks.put("the server is discovered", Outage::discovered);
        checks.put("nothing acknowledged is lost with the server killed", Outage::killed);
        return checks;
    }

    public static void main(String[] arguments) {
        String word = arguments.length > 1 ? arguments[1] : "";
        for (Map.Entry<String, Check> check : checks().entrySet()) {
            if (!check.getKey().contains(word)) continue;
            try {
                check.getValue().on(arguments[0]);
            } catch (Throwable error) {
                error.printStackTrace();
                System.err.println("FAILED " + check.getKey());
                System.exit(1);
            }
            System.out.println("ok " + check.getKey());
            System.out.flush();
        }
        System.exit(0);
    }
}

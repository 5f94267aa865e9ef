// Ends transactions that a partition holds open though their coordinator has finished with them, as
// `kafka-transactions.sh find-hanging` and `abort` do, whose jar is not among those of kafka.sh. Says which.
import java.util.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.common.TopicPartition;

public class EndHanging {
    public static void main(String[] arguments) throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", arguments[0]))) {
            Set<Long> running = new HashSet<>();
            for (TransactionListing it : admin.listTransactions().all().get()) {
                if (Set.of(TransactionState.ONGOING, TransactionState.PREPARE_COMMIT, TransactionState.PREPARE_ABORT).contains(it.state())) {
                    running.add(it.producerId());
                }
            }
            Set<String> topics = admin.listTopics(new ListTopicsOptions().listInternal(true)).names().get();
            List<TopicPartition> partitions = new ArrayList<>();
            for (TopicDescription topic : admin.describeTopics(topics).allTopicNames().get().values()) {
                topic.partitions().forEach(it -> partitions.add(new TopicPartition(topic.name(), it.partition())));
            }
            for (var entry : admin.describeProducers(partitions).all().get().entrySet()) {
                for (ProducerState it : entry.getValue().activeProducers()) {
                    if (it.currentTransactionStartOffset().isPresent() && !running.contains(it.producerId())) {
                        admin.abortTransaction(new AbortTransactionSpec(
                                entry.getKey(), it.producerId(), (short) it.producerEpoch(), it.coordinatorEpoch().orElse(0))).all().get();
                        System.out.println("ended " + entry.getKey() + " " + it);
                    }
                }
            }
        }
    }
}

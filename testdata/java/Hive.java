import com.hivemq.embedded.EmbeddedExtension;
import com.hivemq.embedded.EmbeddedHiveMQ;
import com.hivemq.extension.sdk.api.ExtensionMain;
import com.hivemq.extension.sdk.api.auth.SimpleAuthenticator;
import com.hivemq.extension.sdk.api.parameter.ExtensionStartInput;
import com.hivemq.extension.sdk.api.parameter.ExtensionStartOutput;
import com.hivemq.extension.sdk.api.parameter.ExtensionStopInput;
import com.hivemq.extension.sdk.api.parameter.ExtensionStopOutput;
import com.hivemq.extension.sdk.api.services.Services;
import java.nio.file.Files;
import java.nio.file.Path;

// HiveMQ CE as a process: java Hive.java HOST PORT FOLDER. It lets everybody in, and forgets all at
// its end.
class Hive implements ExtensionMain {
  public static void main(String[] args) throws Exception {
    Path home = Path.of(args[2]);
    for (String folder : new String[] {"conf", "data", "extensions"}) Files.createDirectories(home.resolve(folder));
    Files.writeString(home.resolve("conf/config.xml"),
        "<hivemq><listeners><tcp-listener><port>" + args[1] + "</port><bind-address>" + args[0] + "</bind-address></tcp-listener></listeners>"
            + "<persistence><mode>in-memory</mode></persistence>"
            + "<anonymous-usage-statistics><enabled>false</enabled></anonymous-usage-statistics></hivemq>");
    EmbeddedHiveMQ.builder()
        .withConfigurationFolder(home.resolve("conf"))
        .withDataFolder(home.resolve("data"))
        .withExtensionsFolder(home.resolve("extensions"))
        .withEmbeddedExtension(EmbeddedExtension.builder().withId("all").withName("all").withVersion("1").withExtensionMain(new Hive()).build())
        .build()
        .start()
        .join();
    Thread.currentThread().join();
  }

  public void extensionStart(ExtensionStartInput in, ExtensionStartOutput out) {
    Services.securityRegistry().setAuthenticatorProvider(p -> (SimpleAuthenticator) (i, o) -> o.authenticateSuccessfully());
  }

  public void extensionStop(ExtensionStopInput in, ExtensionStopOutput out) {}
}

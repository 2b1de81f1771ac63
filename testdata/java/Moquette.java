import io.moquette.broker.Server;
import io.moquette.broker.config.MemoryConfig;
import java.util.Properties;

// Moquette as a process: java Moquette.java HOST PORT FOLDER. It lets everybody in, and forgets all at
// its end.
class Moquette {
  public static void main(String[] args) throws Exception {
    Properties p = new Properties();
    p.setProperty("host", args[0]);
    p.setProperty("port", args[1]);
    p.setProperty("data_path", args[2]);
    p.setProperty("allow_anonymous", "true");
    p.setProperty("persistence_enabled", "false");
    p.setProperty("telemetry_enabled", "false");
    new Server().startServer(new MemoryConfig(p));
    Thread.currentThread().join();
  }
}

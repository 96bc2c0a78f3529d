import java.io.IOException;
import java.net.HttpURLConnection;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;
import java.time.Duration;

/**
 * Asks for /late in one of Java's ways and prints the answer.
 * Arguments: the way, the port, the connect time-out in seconds.
 */
class Late {
	public static void main(String[] arguments) throws Exception {
		int port = Integer.parseInt(arguments[1]);
		int limit = Integer.parseInt(arguments[2]);
		URI uri = URI.create("http://127.0.0.1:" + port + "/late");
		try {
			switch (arguments[0]) {
			case "url" -> url(uri, limit);
			case "client" -> client(uri, limit);
			case "selector" -> selector(port);
			}
		} catch (IOException error) {
			System.err.println(error);
			System.exit(1);
		}
	}

	static void url(URI uri, int limit) throws IOException {
		HttpURLConnection connection = (HttpURLConnection) uri.toURL().openConnection();
		connection.setConnectTimeout(limit * 1000);
		connection.getInputStream().transferTo(System.out);
	}

	static void client(URI uri, int limit) throws Exception {
		HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1)
			.connectTimeout(Duration.ofSeconds(limit)).build();
		System.out.print(client.send(HttpRequest.newBuilder(uri).build(), BodyHandlers.ofString()).body());
	}

	static void selector(int port) throws IOException {
		ByteBuffer buffer = ByteBuffer.wrap("GET /late HTTP/1.0\r\n\r\n".getBytes());
		try (Selector selector = Selector.open(); SocketChannel channel = SocketChannel.open()) {
			channel.configureBlocking(false);
			channel.connect(new InetSocketAddress("127.0.0.1", port));
			SelectionKey key = channel.register(selector, SelectionKey.OP_CONNECT);
			for (int got = 0; got >= 0;) {
				selector.select();
				selector.selectedKeys().clear();
				if (key.isConnectable() && channel.finishConnect()) {
					channel.write(buffer);
					buffer = ByteBuffer.allocate(65536);
					key.interestOps(SelectionKey.OP_READ);
				} else if (key.isReadable()) {
					got = channel.read(buffer);
				}
			}
			System.out.write(buffer.array(), 0, buffer.position());
			System.out.flush();
		}
	}
}

import { once } from "node:events";
import { readFileSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { TLSSocket } from "node:tls";

const folder = join(__dirname, "..", "fixtures", "tls");
const key = readFileSync(join(folder, "server.key"));
/** The self-signed certificate of the proxy, for `localhost`. */
export const certificate = readFileSync(join(folder, "server.crt"), "utf8");
/** The message SSLRequest (PostgreSQL docs, "Message Formats"). */
const sslRequest = Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]);

/** A path to a server that accepts only TLS. */
export class TlsProxy {
  /** Number of encrypted connections so far. */
  encrypted = 0;
  /** True once it has stopped carrying anything. */
  isSilent = false;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(target: { host: string; port: number }) {
    this.#server = createServer((socket) => void this.#accept(socket, target));
  }

  static async start(url: string): Promise<TlsProxy> {
    const { hostname, port } = new URL(url);
    const proxy = new TlsProxy({ host: hostname, port: Number(port) });
    proxy.#server.listen(0, "127.0.0.1");
    await once(proxy.#server, "listening");
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }

  async #accept(socket: Socket, target: { host: string; port: number }): Promise<void> {
    this.#track(socket);
    const [first] = (await once(socket, "data").catch(() => [])) as Buffer[];
    if (first?.equals(sslRequest) !== true) {
      socket.destroy();
      return;
    }
    socket.write("S");
    const secure = new TLSSocket(socket, { isServer: true, key, cert: certificate });
    const upstream = connect(target);
    for (const each of [secure, upstream]) this.#track(each);
    secure.on("secure", () => (this.encrypted += 1));
    for (const [from, to] of [
      [secure, upstream],
      [upstream, secure],
    ] as const) {
      from.on("data", (bytes: Buffer) => {
        if (!this.isSilent) to.write(bytes);
      });
      from.on("close", () => to.destroy());
    }
  }

  #track(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => undefined);
    socket.on("close", () => this.#sockets.delete(socket));
  }
}

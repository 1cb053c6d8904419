import { once } from "node:events";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";

/** The only address the server listens on: it is for the programs of this machine. */
export const HOST = "127.0.0.1";

/** A port that is free now. Another process may take it before the server does, so be ready to ask again. */
export async function pickFreePort(): Promise<number> {
  const probe = createServer().listen(0, HOST);
  await once(probe, "listening");
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, "close");
  return port;
}

/** Whether something else holds `port` now. */
export function isPortTaken(port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once("error", (error: NodeJS.ErrnoException) =>
      error.code === "EADDRINUSE" ? resolve(true) : reject(error),
    );
    probe.listen(port, HOST, () => probe.close(() => resolve(false)));
  });
}

/** The part of a connected client of `pg` that counts what has arrived. It has no public name, and other drivers and pools may lack it. */
interface CountingClient {
  readonly connection?: { readonly stream?: { readonly bytesRead?: number } };
}

const bytesReadBy = (client: object): number | undefined => (client as CountingClient).connection?.stream?.bytesRead;

/** Whether {@link keepPace} works for a client. */
export const hasPace = (client: object): boolean => typeof bytesReadBy(client) === "number";

/**
 * Calls `onStalled` once nothing has arrived on a client's connection for `limitMs`, or up to twice as long: a large answer over a slow link takes its time, and a dead connection
 * does not. Gives the function that ends the watch. `isEnding` tells that no more time is to be given.
 */
export function keepPace(client: object, limitMs: number, isEnding: () => boolean, onStalled: () => void): () => void {
  let bytes = bytesReadBy(client);
  let timer: NodeJS.Timeout;
  const look = (): void => {
    const before = bytes;
    bytes = bytesReadBy(client);
    if (bytes === before || isEnding()) onStalled();
    else timer = setTimeout(look, limitMs);
  };
  timer = setTimeout(look, limitMs);
  return () => clearTimeout(timer);
}

import { EventSource } from "eventsource";

export interface SeenEvent {
  readonly event: string;
  readonly id: string | undefined;
  readonly data: unknown;
}

/** Yields the blocks of a stream as they arrive: events, comments and settings. */
export async function* readBlocks(response: Response): AsyncGenerator<string, void> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const bytes of response.body as AsyncIterable<Uint8Array>) {
    text += decoder.decode(bytes, { stream: true });
    const blocks = text.split("\n\n");
    text = blocks.pop() ?? "";
    yield* blocks;
  }
}

export function parseBlock(block: string): SeenEvent | undefined {
  const fields = new Map(block.split("\n").map((line) => line.split(/: (.*)/, 2) as [string, string]));
  const [event, data] = [fields.get("event"), fields.get("data")];
  if (event === undefined || data === undefined) return undefined;
  return { event, id: fields.get("id"), data: JSON.parse(data) as unknown };
}

/** Reads the events of a stream until it ends. */
export async function readEvents(response: Response): Promise<SeenEvent[]> {
  const events: SeenEvent[] = [];
  for await (const block of readBlocks(response)) {
    const event = parseBlock(block);
    if (event !== undefined) events.push(event);
  }
  return events;
}

const names = ["chunk", "restart", "progress", "done", "expired", "result", "failure", "problem"];

/** Records what an `EventSource` receives. */
export class Listener {
  readonly events: SeenEvent[] = [];
  readonly source: EventSource;
  opened = 0;

  constructor(url: string) {
    this.source = new EventSource(url);
    this.source.addEventListener("open", () => (this.opened += 1));
    for (const name of names) {
      this.source.addEventListener(name, ({ lastEventId, data }) =>
        this.events.push({ event: name, id: lastEventId, data: JSON.parse(String(data)) as unknown }),
      );
    }
  }

  /** Whether it was told not to reconnect. */
  get isClosed(): boolean {
    return this.source.readyState === EventSource.CLOSED;
  }

  get names(): string[] {
    return this.events.map(({ event }) => event);
  }
}

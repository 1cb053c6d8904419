import { describeResultBackend } from "./index";
import { MemoryResultBackend } from "../../lib/memory-backend";

const storage = new MemoryResultBackend();

// eslint-disable-next-line @typescript-eslint/require-await -- the suite awaits it, since others have to connect
describeResultBackend("MemoryResultBackend", async () => storage.view());

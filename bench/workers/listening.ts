// A process whose connections listen on the library's channel and ignore the notifications.

import { Client } from "pg";
import { channelOf } from "../../lib/notifications/payload";
import { serve } from "../processes";

const clients: Client[] = [];

const tasks = {
  listen: async ({ url, connections }: { url: string; connections: number }): Promise<void> => {
    for (let index = 0; index < connections; index += 1) {
      const client = new Client({ connectionString: url });
      await client.connect();
      await client.query(`listen ${channelOf("public")}`);
      clients.push(client);
    }
  },

  close: async (): Promise<void> => {
    await Promise.all(clients.splice(0).map(async (client) => client.end()));
  },
};

export type ListeningTasks = typeof tasks;
serve(tasks);

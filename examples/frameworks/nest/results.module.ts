import { type DynamicModule, Inject, Module, type OnApplicationShutdown } from "@nestjs/common";
import { PostgresResultBackend, type PostgresResultBackendOptions } from "kojin-postgres";

/** The token of the backend: `@Inject(RESULTS) backend: PostgresResultBackend`. */
export const RESULTS = Symbol("results");

export interface ResultsModuleOptions extends PostgresResultBackendOptions {
  /** Address of the database. */
  readonly url: string;
}

/** The providers that `useFactory` needs, and their module. */
export interface ResultsModuleSource<Args extends unknown[]> extends Pick<DynamicModule, "imports"> {
  readonly inject?: { [Index in keyof Args]: symbol | string | (abstract new (...args: never[]) => Args[Index]) };
  readonly useFactory: (...args: Args) => ResultsModuleOptions | Promise<ResultsModuleOptions>;
}

/** Connects one backend for the whole application, and closes it with the application. */
@Module({})
export class ResultsModule implements OnApplicationShutdown {
  constructor(@Inject(RESULTS) private readonly backend: PostgresResultBackend) {}

  static forRootAsync<Args extends unknown[]>(source: ResultsModuleSource<Args>): DynamicModule {
    const { imports = [], inject, useFactory } = source;
    const connect = async (...args: Args): Promise<PostgresResultBackend> => {
      const { url, ...options } = await useFactory(...args);
      return PostgresResultBackend.connect(url, options);
    };
    const backend = { provide: RESULTS, inject: inject ?? [], useFactory: connect };
    return { module: ResultsModule, global: true, imports, providers: [backend], exports: [RESULTS] };
  }

  /** Called for signals if the application has called `enableShutdownHooks()`. */
  async onApplicationShutdown(): Promise<void> {
    await this.backend.close();
  }
}

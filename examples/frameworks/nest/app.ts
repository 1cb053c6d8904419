import "reflect-metadata";
import { type INestApplication, Logger, Module } from "@nestjs/common";
import { NestFactory } from "@nestjs/core";
import type { ExampleDatabase } from "../../support/database";
import { ResultsModule } from "./results.module";
import { TasksController } from "./tasks.controller";

/** Stands for `@nestjs/config`. */
class Settings {
  static database: ExampleDatabase;
  readonly database = Settings.database;
}

@Module({ providers: [Settings], exports: [Settings] })
class SettingsModule {}

@Module({
  imports: [
    ResultsModule.forRootAsync({
      imports: [SettingsModule],
      inject: [Settings],
      useFactory: ({ database }: Settings) => database,
    }),
  ],
  controllers: [TasksController],
})
class AppModule {}

export async function createNestApp(database: ExampleDatabase): Promise<INestApplication> {
  Settings.database = database;
  Logger.overrideLogger(["error", "warn"]);
  const app = await NestFactory.create(AppModule);
  app.enableShutdownHooks();
  return app;
}

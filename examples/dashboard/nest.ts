import "reflect-metadata";
import { type INestApplication, Logger, Module } from "@nestjs/common";
import { NestFactory } from "@nestjs/core";
import type { PostgresResultBackend } from "kojin-postgres";
import { mountDashboard } from "kojin-postgres/dashboard";
import { isAdmin } from "./session";

@Module({})
class AppModule {}

/** Serves the dashboard in NestJS 11 on its default platform, Express. */
export async function createNestApp(backend: PostgresResultBackend): Promise<INestApplication> {
  Logger.overrideLogger(["error", "warn"]);
  const app = await NestFactory.create(AppModule);
  app.use("/admin/tasks", mountDashboard(backend, { basePath: "/admin/tasks", auth: isAdmin }));
  return app;
}

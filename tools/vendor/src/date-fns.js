import * as dateFns from "date-fns";

globalThis.__dateFns = { ...dateFns };

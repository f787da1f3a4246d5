BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE alerts (
	run_id VARCHAR(64) NOT NULL, 
	at BIGINT NOT NULL, 
	notified BIGINT, 
	PRIMARY KEY (run_id)
);
INSERT INTO "alerts" VALUES('bad-1',1800000060000009,NULL);
INSERT INTO "alerts" VALUES('lost-1',1800000070800014,NULL);
CREATE TABLE clips (
	owner VARCHAR(64) NOT NULL, 
	id VARCHAR(64) NOT NULL, 
	text TEXT NOT NULL, 
	PRIMARY KEY (owner, id)
);
INSERT INTO "clips" VALUES('done','input','{}');
INSERT INTO "clips" VALUES('bad','input','{}');
INSERT INTO "clips" VALUES('cancelled','input','{}');
INSERT INTO "clips" VALUES('lost','input','{}');
INSERT INTO "clips" VALUES('started','input','{}');
INSERT INTO "clips" VALUES('claimed','input','{}');
INSERT INTO "clips" VALUES('waits','input','{"data":{"patient":"é"}}');
INSERT INTO "clips" VALUES('waits-too','input','{}');
CREATE TABLE events (
	run_id VARCHAR(64) NOT NULL, 
	attempt INTEGER NOT NULL, 
	seq BIGINT NOT NULL, 
	type VARCHAR(16) NOT NULL, 
	clip VARCHAR(64), 
	body TEXT NOT NULL, 
	PRIMARY KEY (run_id, attempt, seq)
);
INSERT INTO "events" VALUES('done-1',1,0,'run:start',NULL,'{"type":"run:start","run_id":"done-1","seq":0,"timestamp":1800000000000000}');
INSERT INTO "events" VALUES('done-1',1,1,'run:complete',NULL,'{"type":"run:complete","run_id":"done-1","seq":1,"timestamp":1800000000000000,"reason":"success"}');
INSERT INTO "events" VALUES('bad-1',1,0,'run:start',NULL,'{"type":"run:start","run_id":"bad-1","seq":0,"timestamp":1800000000000000}');
INSERT INTO "events" VALUES('bad-1',1,1,'run:complete',NULL,'{"type":"run:complete","run_id":"bad-1","seq":1,"timestamp":1800000000000000,"reason":"exception"}');
INSERT INTO "events" VALUES('lost-1',1,0,'run:start',NULL,'{"type":"run:start","run_id":"lost-1","seq":0,"timestamp":1800000000000000}');
INSERT INTO "events" VALUES('started-1',1,0,'run:start',NULL,'{"type":"run:start","run_id":"started-1","seq":0,"timestamp":1800000000000000}');
CREATE TABLE lanes (
	project VARCHAR(64) NOT NULL, 
	workflow VARCHAR(1000) NOT NULL, 
	available INTEGER NOT NULL, 
	leased INTEGER NOT NULL, 
	PRIMARY KEY (project, workflow)
);
INSERT INTO "lanes" VALUES('default','flow',1,1);
INSERT INTO "lanes" VALUES('clinic','flow',1,1);
CREATE TABLE meta (
	"key" VARCHAR(64) NOT NULL, 
	value BIGINT NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "meta" VALUES('sure',1800000066300014);
CREATE TABLE orders (
	id VARCHAR(64) NOT NULL, 
	project VARCHAR(64) NOT NULL, 
	workflow VARCHAR(1000) NOT NULL, 
	"plan" VARCHAR(64) NOT NULL, 
	input VARCHAR(129) NOT NULL, 
	options TEXT NOT NULL, 
	priority INTEGER NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	reason TEXT, 
	created BIGINT NOT NULL, 
	runs INTEGER NOT NULL, 
	last_run VARCHAR(64), 
	PRIMARY KEY (id), 
	FOREIGN KEY("plan") REFERENCES plans (id)
);
INSERT INTO "orders" VALUES('done','default','flow','38b3f78582b2e87423a57c4765ceb215','done/input','{}',0,'success',NULL,1800000060000003,1,'done-1');
INSERT INTO "orders" VALUES('bad','default','flow','38b3f78582b2e87423a57c4765ceb215','bad/input','{}',0,'exception',NULL,1800000060000007,1,'bad-1');
INSERT INTO "orders" VALUES('cancelled','default','flow','38b3f78582b2e87423a57c4765ceb215','cancelled/input','{}',0,'cancelled',NULL,1800000060000011,1,'cancelled-1');
INSERT INTO "orders" VALUES('lost','default','flow','38b3f78582b2e87423a57c4765ceb215','lost/input','{}',0,'lost',NULL,1800000060000013,1,'lost-1');
INSERT INTO "orders" VALUES('started','default','flow','38b3f78582b2e87423a57c4765ceb215','started/input','{}',0,'running',NULL,1800000071000016,1,'started-1');
INSERT INTO "orders" VALUES('claimed','clinic','flow','38b3f78582b2e87423a57c4765ceb215','claimed/input','{}',0,'pending',NULL,1800000071000019,1,'claimed-1');
INSERT INTO "orders" VALUES('waits','clinic','flow','38b3f78582b2e87423a57c4765ceb215','waits/input','{}',5,'pending',NULL,1800000071000021,1,'waits-1');
INSERT INTO "orders" VALUES('waits-too','default','flow','38b3f78582b2e87423a57c4765ceb215','waits-too/input','{}',0,'pending',NULL,1800000071000022,1,'waits-too-1');
CREATE TABLE plans (
	id VARCHAR(64) NOT NULL, 
	text TEXT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "plans" VALUES('38b3f78582b2e87423a57c4765ceb215','{"options":{},"workflow":{"name":"flow","steps":[{"id":"a","expression":"fn(s => s)","next":{"b":{"condition":true}}},{"id":"b","expression":"fn(s => s)"}]}}');
CREATE TABLE projects (
	name VARCHAR(64) NOT NULL, 
	period_began BIGINT NOT NULL, 
	accepted INTEGER NOT NULL, 
	PRIMARY KEY (name)
);
CREATE TABLE runs (
	id VARCHAR(64) NOT NULL, 
	order_id VARCHAR(64) NOT NULL, 
	number INTEGER NOT NULL, 
	project VARCHAR(64) NOT NULL, 
	workflow VARCHAR(1000) NOT NULL, 
	priority INTEGER NOT NULL, 
	age BIGINT NOT NULL, 
	phase VARCHAR(16) NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	attempt INTEGER NOT NULL, 
	start VARCHAR(1000) NOT NULL, 
	input VARCHAR(129) NOT NULL, 
	claim_id VARCHAR(64), 
	worker VARCHAR(64), 
	incarnation VARCHAR(64), 
	token VARCHAR(64), 
	expires BIGINT NOT NULL, 
	cancelling BOOLEAN NOT NULL, 
	reported BIGINT NOT NULL, 
	created BIGINT NOT NULL, 
	started BIGINT, 
	finished BIGINT, 
	error_type VARCHAR(200), 
	error_message TEXT, 
	PRIMARY KEY (id)
);
INSERT INTO "runs" VALUES('done-1','done',1,'default','flow',0,1800000060000004,'final','success',1,'','done/input','claim-1','north','i1','token-000002',1800000070000003,0,1,1800000060000004,1800000060000004,1800000060000005,NULL,NULL);
INSERT INTO "runs" VALUES('bad-1','bad',1,'default','flow',0,1800000060000008,'final','exception',1,'','bad/input','claim-3','north','i1','token-000004',1800000070000007,0,1,1800000060000008,1800000060000008,1800000060000009,NULL,NULL);
INSERT INTO "runs" VALUES('cancelled-1','cancelled',1,'default','flow',0,1800000060000012,'final','cancelled',1,'','cancelled/input',NULL,NULL,NULL,NULL,0,0,-1,1800000060000012,NULL,1800000060000011,'CancelledError','the run was cancelled');
INSERT INTO "runs" VALUES('lost-1','lost',1,'default','flow',0,1800000060000014,'final','lost',1,'','lost/input','claim-5','north','i1','token-000006',1800000070000013,0,0,1800000060000014,1800000060000014,1800000070800014,'LostAfterStart','worker ''north'' was not heard of again after the run had started');
INSERT INTO "runs" VALUES('started-1','started',1,'default','flow',0,1800000071000017,'started','running',1,'','started/input','claim-7','north','i1','token-000008',1800000081000016,0,0,1800000071000017,1800000071000017,NULL,NULL,NULL);
INSERT INTO "runs" VALUES('claimed-1','claimed',1,'clinic','flow',0,1800000071000020,'claimed','pending',1,'','claimed/input','claim-9','north','i1','token-000010',1800000081000019,0,-1,1800000071000020,NULL,NULL,NULL,NULL);
INSERT INTO "runs" VALUES('waits-1','waits',1,'clinic','flow',5,1800000071000022,'available','pending',1,'','waits/input',NULL,NULL,NULL,NULL,0,0,-1,1800000071000022,NULL,NULL,NULL,NULL);
INSERT INTO "runs" VALUES('waits-too-1','waits-too',1,'default','flow',0,1800000071000023,'available','pending',1,'','waits-too/input',NULL,NULL,NULL,NULL,0,0,-1,1800000071000023,NULL,NULL,NULL,NULL);
CREATE TABLE stale_reports (
	run_id VARCHAR(64) NOT NULL, 
	attempt INTEGER NOT NULL, 
	seq BIGINT NOT NULL, 
	worker VARCHAR(64) NOT NULL, 
	received BIGINT NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (run_id, attempt, seq)
);
CREATE TABLE workers (
	name VARCHAR(64) NOT NULL, 
	incarnation VARCHAR(64) NOT NULL, 
	online BOOLEAN NOT NULL, 
	draining BOOLEAN NOT NULL, 
	capacity INTEGER NOT NULL, 
	version VARCHAR(64) NOT NULL, 
	since BIGINT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "workers" VALUES('north','i1',1,0,3,'',1800000060000001);
CREATE INDEX alerts_notified ON alerts (notified, at);
CREATE INDEX runs_claim ON runs (claim_id);
CREATE INDEX runs_expiry ON runs (phase, expires);
CREATE INDEX runs_finished ON runs (finished);
CREATE INDEX runs_order ON runs (order_id, number);
CREATE INDEX runs_queue ON runs (phase, project, workflow, priority DESC, age);
CREATE INDEX ix_orders_plan ON orders ("plan");
CREATE INDEX orders_created ON orders (created);
CREATE INDEX orders_project ON orders (project, created);
CREATE INDEX orders_status ON orders (status, created);
COMMIT;

create table pgopt.job (
    name text primary key,
    command text not null,
    cron text,
    every interval,
    timezone text not null default 'UTC',
    catch_up text not null default 'once' check (catch_up in ('once', 'all')),
    start_within interval check (start_within > '0'),
    time_limit interval check (time_limit > '0'),
    retries integer not null default 3 check (retries >= 0),
    enabled boolean not null default true,
    history interval not null default '90 days',
    next_due timestamptz not null,
    retry_at timestamptz,
    attempts integer not null default 0,
    failures integer not null default 0,
    last_started timestamptz,
    created_at timestamptz not null default now(),
    check (num_nonnulls(cron, every) = 1)
);
comment on table pgopt.job is 'what is run by the clock; commands are run with the rights of whoever runs them: pgopt run-due, pgopt worker or pg_cron';
comment on column pgopt.job.enabled is 'false pauses a job; what was due meanwhile is not made up for';
comment on column pgopt.job.catch_up is 'whether runs that were missed are made up for by one, or each';
comment on column pgopt.job.start_within is 'a run that is later than this is left out';
comment on column pgopt.job.attempts is 'how often the run that is due was begun';
comment on column pgopt.job.failures is 'how many runs have failed in a row';
comment on column pgopt.job.history is 'how long its runs are remembered';

create table pgopt.job_run (
    id bigint generated always as identity primary key,
    job text not null,
    due timestamptz not null,
    attempt integer not null,
    runner text not null,
    pid integer,
    entry bigint,
    started_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz,
    outcome text check (outcome in ('succeeded', 'failed', 'left out')),
    error text
);
comment on table pgopt.job_run is 'the runs of jobs; one without an end is at work, or its runner was killed';
comment on column pgopt.job_run.entry is 'the one-shot entry of pg_cron that runs it';
create index job_run_job on pgopt.job_run (job, id);
create index job_run_open on pgopt.job_run (job) where finished_at is null;
create index job_run_ended on pgopt.job_run (job, finished_at);

create function pgopt.cron_field(cron text, field text, kind text, low integer, high integer, names text[] default '{}') returns integer[]
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
declare
    part text;
    said text[];
    edge integer[];
    answer integer[] := '{}';
begin
    foreach part in array string_to_array(lower(field), ',') loop
        said := regexp_match(part, '^(?:[*]|([0-9]{1,3}|[a-z]{3})(?:-([0-9]{1,3}|[a-z]{3}))?)(/0*[1-9][0-9]{0,2})?$');
        -- one number with a step goes on to the last; without, it is alone
        select array_agg(coalesce(array_position(names, e) + low - 1, case when e ~ '^[0-9]' then e::integer end) order by n) into edge
        from unnest(array[coalesce(said[1], low::text), coalesce(said[2], case when said[1] is null or said[3] is not null then high::text else said[1] end)])
             with ordinality u (e, n);
        if said is null or edge[1] is null or edge[2] is null or edge[1] < low or edge[2] > high or edge[1] > edge[2] then
            raise exception 'cron %: % is no % from % to %', quote_literal(cron), quote_literal(part), kind, low, high
                using errcode = 'invalid_parameter_value';
        end if;
        answer := answer || array(select generate_series(edge[1], edge[2], coalesce(substr(said[3], 2), '1')::integer));
    end loop;
    return array(select distinct f from unnest(answer) f order by f);
end
$$;
comment on function pgopt.cron_field is 'the numbers that one field of a cron expression names';

create function pgopt.first_instant(local timestamp, timezone text) returns timestamptz
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    one timestamptz := local at time zone timezone;
begin
    if (one - interval '25 hours') at time zone timezone = local - interval '25 hours'
       and (one + interval '25 hours') at time zone timezone = local + interval '25 hours' then
        return one;
    end if;
    -- the clock is changed on this day: a time may be there twice, or not at all
    return (
        select min(t) from generate_series(one - interval '25 hours', one, interval '1 minute') t
        where t at time zone timezone >= local
    );
end
$$;
comment on function pgopt.first_instant is 'when a clock in a time zone first shows a time, or a later one where it leaps over it';

create function pgopt.cron_next(cron text, timezone text, after timestamptz) returns timestamptz
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    field text[] := regexp_split_to_array(btrim(cron), '[[:space:]]+');
    minutes integer[];
    hours integer[];
    days integer[];
    months integer[];
    weekdays integer[];
    either boolean := field[3] !~ '^[*]' and field[5] !~ '^[*]';
    day timestamp := date_trunc('day', after at time zone timezone) - interval '1 day';
    -- the 29th of February may be eight years away
    until timestamp := day + interval '9 years';
    is_day boolean;
    is_weekday boolean;
    hour integer;
    minute integer;
    answer timestamptz;
begin
    if cardinality(field) <> 5 then
        raise exception 'cron %: five fields are wanted: minute, hour, day of the month, month, day of the week', quote_literal(cron)
            using errcode = 'invalid_parameter_value';
    end if;
    minutes := pgopt.cron_field(cron, field[1], 'minute', 0, 59);
    hours := pgopt.cron_field(cron, field[2], 'hour', 0, 23);
    days := pgopt.cron_field(cron, field[3], 'day of the month', 1, 31);
    months := pgopt.cron_field(cron, field[4], 'month', 1, 12, '{jan,feb,mar,apr,may,jun,jul,aug,sep,oct,nov,dec}');
    weekdays := pgopt.cron_field(cron, field[5], 'day of the week', 0, 7, '{sun,mon,tue,wed,thu,fri,sat}');
    while day < until loop
        is_day := extract(day from day) = any (days);
        is_weekday := extract(dow from day) = any (weekdays) or (extract(dow from day) = 0 and 7 = any (weekdays));
        -- where both are said, cron has always taken either
        if extract(month from day) = any (months) and (case when either then is_day or is_weekday else is_day and is_weekday end) then
            if cardinality(hours) = 24 then
                -- every hour is no time of the day: it goes on while the clock is changed
                select min(t) into answer
                from generate_series(greatest(pgopt.first_instant(day, timezone), date_trunc('minute', after)),
                                     pgopt.first_instant(day + interval '1 day', timezone), interval '1 minute') t
                where t > after and date_trunc('day', t at time zone timezone) = day
                  and extract(minute from t at time zone timezone) = any (minutes);
                if answer is not null then
                    return answer;
                end if;
            else
                foreach hour in array hours loop
                    foreach minute in array minutes loop
                        answer := (day + make_interval(hours => hour, mins => minute)) at time zone timezone;
                        if answer > after then
                            answer := pgopt.first_instant(day + make_interval(hours => hour, mins => minute), timezone);
                            if answer > after then
                                return answer;
                            end if;
                        end if;
                    end loop;
                end loop;
            end if;
        end if;
        day := day + interval '1 day';
    end loop;
    raise exception 'cron %: such a day never comes', quote_literal(cron) using errcode = 'invalid_parameter_value';
end
$$;
comment on function pgopt.cron_next is 'the first time after another that a cron expression names in a time zone; one that is there twice counts once, one that is leapt over when the clock has leapt';

create function pgopt.due_after(it pgopt.job, after timestamptz) returns timestamptz
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    seconds constant numeric := extract(epoch from it.every);
begin
    if it.cron is not null then
        return pgopt.cron_next(it.cron, it.timezone, after);
    end if;
    return it.next_due
        + make_interval(secs => (seconds * (1 + greatest(0, floor(extract(epoch from after - it.next_due) / seconds))))::double precision);
end
$$;
comment on function pgopt.due_after is 'when a job is due the first time after a moment';

create function pgopt.first_due(cron text, every interval, timezone text) returns timestamptz
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
    if cron is not null then
        return pgopt.cron_next(cron, timezone, clock_timestamp());
    end if;
    if extract(year from every) <> 0 or extract(month from every) <> 0 or every < interval '1 second' then
        raise exception 'every % is no time between two runs: say a second or more, without months, or say it by cron', quote_literal(every)
            using errcode = 'invalid_parameter_value';
    end if;
    return clock_timestamp() + make_interval(secs => extract(epoch from every)::double precision);
end
$$;
comment on function pgopt.first_due is 'when a new job is due, and whether it ever is';

create function pgopt.uses_pg_cron() returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    it boolean := false;
begin
    if exists (select from pg_extension where extname = 'pg_cron') and has_schema_privilege('cron', 'usage') then
        execute 'select exists (select from cron.job where jobname = ''pgopt dispatch'' and username = current_user'
            ' and database = current_database())' into it;
    end if;
    return it;
end
$$;
comment on function pgopt.uses_pg_cron is 'whether pg_cron runs the jobs of this database, for the current role';

create function pgopt.fault_of_seconds(name text, every interval) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
select case
    when regexp_match(e.extversion, '^([0-9]+)[.]([0-9]+)')::integer[] < '{1,5}'
    then format('job %s is to run every %s, but pg_cron %s comes once a minute: use 1.5 or newer, or pgopt worker', name, every, e.extversion)
    when extract(epoch from every) % 1 <> 0
    then format('job %s is to run every %s, and pg_cron takes whole seconds alone', name, every)
end
from pg_extension e where e.extname = 'pg_cron' and every < interval '1 minute'
$$;
comment on function pgopt.fault_of_seconds is 'why pg_cron cannot run a job every few seconds';

create function pgopt.in_seconds(name text, every interval) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
select format('%s seconds', extract(epoch from every)::integer)
from pg_extension e where e.extname = 'pg_cron' and every < interval '1 minute' and pgopt.fault_of_seconds(name, every) is null
$$;
comment on function pgopt.in_seconds is 'the schedule of an entry of pg_cron that stays and runs a job every few seconds; nothing where each run has an entry';

create function pgopt.job_changed() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
    if tg_op = 'UPDATE' and (old.cron, old.every, old.timezone) is not distinct from (new.cron, new.every, new.timezone)
       and (old.enabled or not new.enabled) then
        return new;
    end if;
    if new.every < interval '1 minute' and new.enabled and pgopt.uses_pg_cron() and pgopt.fault_of_seconds(new.name, new.every) is not null then
        raise exception '%', pgopt.fault_of_seconds(new.name, new.every) using errcode = 'invalid_parameter_value';
    end if;
    new.next_due := pgopt.first_due(new.cron, new.every, new.timezone);
    new.retry_at := null;
    new.attempts := 0;
    return new;
end
$$;
comment on function pgopt.job_changed is 'says anew when a job is due, and refuses one that never is';

create trigger job_changed before insert or update of cron, every, timezone, enabled on pgopt.job
for each row execute function pgopt.job_changed();

create function pgopt.job_key(name text) returns bigint
language sql immutable set search_path = pg_catalog, pg_temp
as $$
select hashtextextended('pgopt.job ' || name, 0)
$$;
comment on function pgopt.job_key is 'the advisory lock that a session holds while it runs a job';

create function pgopt.settle_job(name text, error text) returns void
language sql set search_path = pg_catalog, pg_temp
as $$
update pgopt.job j
set failures = case when settle_job.error is null then 0 else failures + 1 end,
    attempts = case when o.over then 0 else attempts end,
    retry_at = case when not o.over then clock_timestamp() + least(interval '10 seconds' * 4 ^ (attempts - 1), interval '1 hour') end,
    next_due = case when not o.over then next_due
                    when catch_up = 'all' then pgopt.due_after(j, next_due)
                    else pgopt.due_after(j, greatest(next_due, clock_timestamp())) end
from (select k.name, settle_job.error is null or k.attempts > k.retries as over from pgopt.job k) o
where j.name = settle_job.name and o.name = j.name
$$;
comment on function pgopt.settle_job is 'says when a job is due again after a run: to try again, or the next time';

create function pgopt.finish_job(run bigint, error text default null) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    it text;
begin
    update pgopt.job_run r
    set finished_at = clock_timestamp(), error = finish_job.error,
        outcome = case when finish_job.error is null then 'succeeded' else 'failed' end
    where r.id = run and r.finished_at is null
    returning r.job into it;
    if it is not null then
        perform pgopt.settle_job(it, error);
        delete from pgopt.job_run r using pgopt.job j
        where r.job = it and j.name = it and r.finished_at < clock_timestamp() - j.history;
    end if;
end
$$;
comment on function pgopt.finish_job is 'writes down how a run has ended';

create function pgopt.begin_run(name text, runner text, pid integer, soon interval default '0') returns bigint
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    it pgopt.job;
    run bigint;
begin
    update pgopt.job_run r set finished_at = clock_timestamp(), outcome = 'failed', error = 'the job was unscheduled before it ended'
    from pgopt.job j
    where r.job = begin_run.name and j.name = r.job and r.finished_at is null and r.started_at < j.created_at;
    for run in select r.id from pgopt.job_run r where r.job = begin_run.name and r.finished_at is null loop
        perform pgopt.finish_job(run, 'its runner was gone before it ended');
    end loop;
    select * into it from pgopt.job j where j.name = begin_run.name;
    if it.retry_at is null and it.next_due + it.start_within < clock_timestamp() then
        insert into pgopt.job_run (job, due, attempt, runner, finished_at, outcome)
        values (it.name, it.next_due, 0, begin_run.runner, clock_timestamp(), 'left out');
        update pgopt.job j set next_due = pgopt.due_after(it, clock_timestamp()) where j.name = it.name;
        return null;
    end if;
    if coalesce(it.retry_at, it.next_due) > clock_timestamp() + soon then
        return null;
    end if;
    update pgopt.job j set attempts = it.attempts + 1, last_started = clock_timestamp() where j.name = it.name;
    insert into pgopt.job_run (job, due, attempt, runner, pid)
    values (it.name, it.next_due, it.attempts + 1, begin_run.runner, begin_run.pid)
    returning id into run;
    return run;
end
$$;
comment on function pgopt.begin_run is 'writes down that a job is being run, unless it is due no more once what was left open is settled; under the lock of its row';

create function pgopt.claim_job(runner text, until timestamptz default null) returns table (run bigint, job text, command text, time_limit interval)
language plpgsql set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    late constant timestamptz := coalesce(until, clock_timestamp());
    candidate text;
    it pgopt.job;
    begun bigint;
begin
    if pg_is_in_recovery() then
        return;
    end if;
    for candidate in
        select j.name from pgopt.job j where j.enabled and coalesce(j.retry_at, j.next_due) <= late
        order by coalesce(j.retry_at, j.next_due)
    loop
        -- the row comes first: whoever ends a run writes to it, and lets go of the advisory lock after that
        select * into it from pgopt.job j
        where j.name = candidate and j.enabled and coalesce(j.retry_at, j.next_due) <= late for update skip locked;
        if found and not pgopt.is_with_pg_cron(it.name) and pg_try_advisory_lock(pgopt.job_key(it.name)) then
            begun := pgopt.begin_run(it.name, runner, pg_backend_pid());
            if begun is not null then
                return query select begun, it.name, it.command, it.time_limit;
                return;
            end if;
            perform pg_advisory_unlock(pgopt.job_key(it.name));
        end if;
    end loop;
end
$$;
comment on function pgopt.claim_job is 'gives one job that is due, or was at a moment, for this session alone until it ends or lets go of pgopt.job_key';

create function pgopt.is_with_pg_cron(name text) returns boolean
language sql stable set search_path = pg_catalog, pg_temp
as $$
select exists (select from pg_extension where extname = 'pg_cron')
    and exists (select from pgopt.job_run r where r.job = name and r.finished_at is null and r.entry is not null)
$$;
comment on function pgopt.is_with_pg_cron is 'whether pg_cron has an entry that runs a job now, or soon';

create function pgopt.write_entry(run bigint, status text, message text, pid integer, began timestamptz, ended timestamptz) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
    perform pgopt.finish_job(run, case status when 'succeeded' then null
                                              when 'failed' then btrim(regexp_replace(message, '^ERROR:', ''), e' \n')
                                              else 'pg_cron has not run it' end);
    update pgopt.job_run r
    set pid = write_entry.pid, started_at = coalesce(began, r.started_at), finished_at = coalesce(ended, r.finished_at)
    where r.id = run;
end
$$;
comment on function pgopt.write_entry is 'writes down how a run has ended, by what pg_cron says of it';

create function pgopt.settle_repeated(run bigint, entry bigint, wanted boolean) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    it record;
    latest bigint := run;
    following bigint;
begin
    for it in select * from cron.job_run_details d where d.jobid = entry and d.status in ('succeeded', 'failed') order by d.runid loop
        perform pgopt.write_entry(latest, it.status, it.return_message, it.job_pid, it.start_time, it.end_time);
        delete from cron.job_run_details d where d.runid = it.runid;
        -- the next run is open from now on, so that nobody else begins it
        insert into pgopt.job_run (job, due, attempt, runner, entry, started_at)
        select r.job, coalesce(greatest(j.next_due, pgopt.due_after(j, it.start_time)), clock_timestamp()), coalesce(j.attempts, 0) + 1, r.runner, r.entry,
               it.start_time + coalesce(j.every, '0')
        from pgopt.job_run r left join pgopt.job j on j.name = r.job where r.id = latest
        returning id into following;
        update pgopt.job j set attempts = j.attempts + 1, last_started = it.start_time, next_due = r.due
        from pgopt.job_run r where r.id = following and j.name = r.job;
        latest := following;
    end loop;
    select d.* into it from cron.job_run_details d where d.jobid = entry;
    if found then
        update pgopt.job_run r set started_at = coalesce(it.start_time, r.started_at), pid = it.job_pid where r.id = latest;
        -- it must be there to the end of what has begun, and must not come again
        perform cron.schedule(c.jobname, '0 0 1 1 *', c.command) from cron.job c where c.jobid = entry and not wanted;
    elsif not wanted then
        perform cron.unschedule(entry);
        update pgopt.job j set attempts = greatest(0, j.attempts - 1) from pgopt.job_run r where r.id = latest and j.name = r.job;
        delete from pgopt.job_run r where r.id = latest;
    elsif (select r.started_at < clock_timestamp() - interval '5 minutes' from pgopt.job_run r where r.id = latest) then
        perform cron.unschedule(entry);
        perform pgopt.finish_job(latest, 'pg_cron has not run it');
    end if;
end
$$;
comment on function pgopt.settle_repeated is 'takes what pg_cron says of an entry that stays into the history of its job, and takes the entry away when it is not wanted any more';

create function pgopt.settle_entries() returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    it record;
begin
    for it in
        select r.id, r.entry, r.started_at, j.time_limit, j.command, d.status, d.return_message, d.job_pid, d.start_time, d.end_time,
               c.jobid is not null as there, c.schedule ~ 'seconds$' as stays,
               (j.enabled and c.command = j.command and c.schedule = pgopt.in_seconds(j.name, j.every)) is true as wanted
        from pgopt.job_run r
        left join pgopt.job j on j.name = r.job
        left join cron.job c on c.jobid = r.entry
        left join lateral (select * from cron.job_run_details d where d.jobid = r.entry order by d.runid desc limit 1) d on true
        where r.finished_at is null and r.entry is not null
        for update of r skip locked
    loop
        if it.stays then
            perform pgopt.settle_repeated(it.id, it.entry, it.wanted);
        elsif it.status in ('succeeded', 'failed') or not it.there
           or it.status is null and it.started_at < clock_timestamp() - interval '5 minutes' then
            perform cron.unschedule(it.entry) where it.there;
            perform pgopt.write_entry(it.id, it.status, it.return_message, it.job_pid, it.start_time, it.end_time);
            delete from cron.job_run_details d where d.jobid = it.entry;
        end if;
        if it.status = 'running' and it.start_time < clock_timestamp() - it.time_limit then
            perform pg_cancel_backend(a.pid) from pg_stat_activity a where a.pid = it.job_pid and a.query = it.command;
        end if;
    end loop;
    delete from cron.job_run_details d using cron.job c
    where d.jobid = c.jobid and c.jobname = 'pgopt dispatch' and d.end_time < clock_timestamp() - interval '1 day';
end
$$;
comment on function pgopt.settle_entries is 'takes what pg_cron says of the runs that it was given into their history, and ends those beyond their limit';

create function pgopt.dispatch_jobs() returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    -- a minute that begins only after pg_cron has heard of the entry
    minute constant timestamptz := date_trunc('minute', clock_timestamp() + interval '65 seconds');
    -- what comes every few seconds will have come by then
    soon constant timestamptz := clock_timestamp() + interval '1 minute';
    zone constant text := coalesce((select s.setting from pg_settings s where s.name = 'cron.timezone'), 'GMT');
    it pgopt.job;
    run bigint;
    every_few text;
begin
    if pg_is_in_recovery() then
        return;
    end if;
    perform pgopt.settle_entries();
    for it in
        select * from pgopt.job j
        where j.enabled and coalesce(j.retry_at, j.next_due) <= case when pgopt.in_seconds(j.name, j.every) is null then minute else soon end
        order by coalesce(j.retry_at, j.next_due) for update skip locked
    loop
        if not pgopt.is_with_pg_cron(it.name) and pg_try_advisory_xact_lock(pgopt.job_key(it.name)) then
            every_few := pgopt.in_seconds(it.name, it.every);
            run := pgopt.begin_run(it.name, 'pg_cron', null, case when every_few is null then minute else soon end - clock_timestamp());
            -- the month and the day are said, so that it would come again in a year at most
            update pgopt.job_run r
            set started_at = case when every_few is null then minute else clock_timestamp() + it.every end,
                entry = cron.schedule(
                    'pgopt ' || run || ': ' || it.name, coalesce(every_few, to_char(minute at time zone zone, 'FMMI FMHH24 FMDD FMMM "*"')), it.command
                )
            where r.id = run;
        end if;
    end loop;
end
$$;
comment on function pgopt.dispatch_jobs is 'gives pg_cron what is due as entries that run once, or every few seconds, each bare at the top level; pg_cron calls it every minute';

create function pgopt.job_left() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
    if pgopt.uses_pg_cron() then
        perform pgopt.settle_entries();
    end if;
    return null;
end
$$;
comment on function pgopt.job_left is 'takes an entry that runs a job every few seconds away at once, where that is not wanted any more';

create trigger job_left after delete or update of command, cron, every, enabled on pgopt.job
for each row execute function pgopt.job_left();

create function pgopt.leave_pg_cron() returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
    it record;
begin
    perform pgopt.settle_entries();
    for it in select r.id, r.job, r.entry, r.attempt from pgopt.job_run r where r.finished_at is null and r.entry is not null for update loop
        if exists (select from cron.job_run_details d where d.jobid = it.entry) then
            raise exception 'job % is being run by pg_cron: wait until it has ended, or cancel it', it.job;
        end if;
        perform cron.unschedule(it.entry);
        -- it has not begun
        delete from pgopt.job_run r where r.id = it.id;
        update pgopt.job j set attempts = greatest(0, j.attempts - 1) where j.name = it.job;
    end loop;
    perform cron.unschedule(c.jobid) from cron.job c
    where c.jobname = 'pgopt dispatch' and c.username = current_user and c.database = current_database();
end
$$;
comment on function pgopt.leave_pg_cron is 'takes all entries of pgopt out of pg_cron';

revoke all on all functions in schema pgopt from public;

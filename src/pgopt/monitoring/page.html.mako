<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark">
<title>${it.surroundings["database"]}: health</title>
<style>
:root { --paper: #f6f7f9; --card: #ffffff; --ink: #1c242c; --quiet: #5d6975; --rule: #dfe4e9; --line: #2468a2; --index: #7fb2dc; --toast: #b9c4cf;
  --now: #b3261e; --now-paper: #fbe9e7; --soon: #8a5200; --soon-paper: #fdf0d9; --day: #46515c; --day-paper: #e9edf1; --code: #f0f3f6 }
@media (prefers-color-scheme: dark) {
  :root { --paper: #12171c; --card: #1a2128; --ink: #e4e9ee; --quiet: #9aa7b4; --rule: #2f3944; --line: #74b3e8; --index: #3d77a8; --toast: #5b6773;
    --now: #ffb4ab; --now-paper: #4b1d19; --soon: #f5c57a; --soon-paper: #45310f; --day: #c2ccd6; --day-paper: #2b343d; --code: #12171c } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 1100px; padding: 24px 16px 48px; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; overflow-wrap: anywhere }
h1 { font-size: 24px; line-height: 1.25; margin: 0 }
h2 { font-size: 18px; margin: 36px 0 12px }
h3 { font-size: 13px; font-weight: 600; margin: 0 0 8px }
.quiet { color: var(--quiet); margin: 4px 0 }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 8px; padding: 14px 16px }
ul { list-style: none; padding: 0; margin: 0; display: grid; gap: 10px }
.head { display: flex; flex-wrap: wrap; gap: 4px 10px; align-items: baseline }
.chip { border-radius: 4px; padding: 1px 8px; font-size: 12px; font-weight: 600; white-space: nowrap }
.chip.now { color: var(--now); background: var(--now-paper) }
.chip.soon { color: var(--soon); background: var(--soon-paper) }
.chip.some { color: var(--day); background: var(--day-paper) }
.subject { font-weight: 600 }
pre, code { font: 13px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace }
pre { margin: 8px 0 0; padding: 8px 10px; background: var(--code); border-radius: 6px; white-space: pre-wrap; overflow-wrap: anywhere }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 320px), 1fr)); gap: 12px }
svg { display: block; width: 100%; height: auto }
svg text { font: 10px system-ui, sans-serif; fill: var(--quiet) }
.grid { stroke: var(--rule) }
.line { fill: none; stroke: var(--line); stroke-width: 1.75; stroke-linejoin: round }
.dot { fill: var(--line); opacity: 0 }
.dot:hover { opacity: 1 }
.reset { stroke: var(--quiet); stroke-dasharray: 2 3 }
.scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: 6px 12px 6px 0; border-bottom: 1px solid var(--rule); vertical-align: top }
tr:last-child td { border-bottom: 0 }
th { font-size: 12px; font-weight: 600; color: var(--quiet); white-space: nowrap }
.number { text-align: right; white-space: nowrap }
td.name { min-width: 140px }
.bar { height: 8px; margin-top: 4px }
.rows { fill: var(--line); background: var(--line) }
.indexes { fill: var(--index); background: var(--index) }
.toast { fill: var(--toast); background: var(--toast) }
.key { display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin: 0 4px 0 10px }
details > summary { cursor: pointer; list-style: none }
details > summary::after { content: " …"; color: var(--quiet) }
details[open] > summary { display: none }
td.query { min-width: 160px }
@media (max-width: 560px) { .wide { display: none } th, td { padding-right: 8px } }
</style>
</head>
<body>
<%def name="named(row, what)">${"" if row["schema_name"] == "public" else row["schema_name"] + "."}${row[what]}</%def>
<header>
<h1>${it.surroundings["database"]}</h1>
<p class="quiet">${size(it.surroundings["bytes"])} on PostgreSQL ${it.surroundings["version"].split(" ")[0]}${", a standby" if it.surroundings["standby"] else ""},
up for ${duration(it.surroundings["up"].total_seconds())}; looked at on ${"{:%d %B %Y, %H:%M}".format(it.surroundings["at"])} UTC</p>
</header>

<section id="findings">
<h2>${"Nothing was found" if not it.health.findings else "1 finding" if len(it.health.findings) == 1 else str(len(it.health.findings)) + " findings"}</h2>
<ul>
% for finding in it.health.findings:
<li class="card finding"><div class="head"><span class="chip ${hurts(finding.hurts).split(" ")[0]}">${hurts(finding.hurts)}</span>
<span class="subject">${finding.subject}</span><span class="quiet">${finding.check.replace("_", " ")}</span></div>
<div>${finding.message}</div>
<pre>${finding.mend}</pre></li>
% endfor
</ul>
% for note in it.health.notes:
<p class="quiet">${note}</p>
% endfor
</section>

<section id="trends">
<h2>How it came to be so</h2>
% if it.since is None:
<p class="quiet">There are no snapshots: <code>op.install_snapshots()</code> has them taken, by <code>pgopt worker</code> or pg_cron.</p>
% else:
<div class="charts">
% for line in it.lines:
<figure class="card" style="margin: 0"><h3>${line.title}</h3>${line.draw()}</figure>
% endfor
</div>
% endif
</section>

% if it.sizes:
<section id="sizes">
<h2>Where the space goes</h2>
<div class="card"><p class="quiet" style="margin-left: -10px"><span class="key rows"></span>rows<span class="key indexes"></span>indexes<span class="key toast"></span>long values</p>
<div class="scroll"><table>
<tr><th>table</th><th class="number">size</th>${'' if it.since is None else charts.Markup('<th class="number">grown</th>')}<th class="number wide">rows</th></tr>
% for row in it.sizes:
<tr><td class="name">${named(row, "table_name")}${charts.bar([("rows", row["table_bytes"]), ("indexes", row["index_bytes"]), ("toast", row["toast_bytes"])], it.sizes[0]["total_bytes"])}</td>
<td class="number">${size(row["total_bytes"])}</td>
% if it.since is not None:
<td class="number">${size(it.growth.get((row["schema_name"], row["table_name"]), 0))}</td>
% endif
<td class="number wide">${amount(row["rows"] or 0)}</td></tr>
% endfor
</table></div>
% if it.since is not None:
<p class="quiet">Grown since ${charts.moment(it.since)} UTC.</p>
% endif
</div>
</section>
% endif

% if it.statements:
<section id="statements">
<h2>Where the time goes</h2>
<div class="card"><div class="scroll"><table>
<tr><th>statement</th><th class="number">share</th><th class="number">on average</th><th class="number wide">calls</th></tr>
% for row in it.statements:
<% words = " ".join((row["query"] or "").split()) %>
<tr><td class="query"><code>
% if len(words) > 160:
<details><summary>${words[:160]}</summary>${words}</details>
% else:
${words}
% endif
</code></td>
<td class="number">${"{:.1f} %".format(row["share_percent"] or 0)}</td>
<td class="number">${duration(row["mean_milliseconds"] / 1000)}</td>
<td class="number wide">${amount(row["calls"])}</td></tr>
% endfor
</table></div>
<p class="quiet">${"Since pg_stat_statements began to count." if it.statements_since is None else "Since " + charts.moment(it.statements_since) + " UTC."} See why: <code>pgopt explain "…"</code></p></div>
</section>
% endif

% if it.views:
<section id="views">
<h2>How old materialized views are</h2>
<div class="card scroll"><table>
<tr><th>view</th><th class="number">age of its rows</th><th class="number">failures</th></tr>
% for row in it.views:
<tr><td class="name">${named(row, "view_name")}</td><td class="number">${"not known" if row["age"] is None else duration(row["age"])}</td><td class="number">${row["failures"]}</td></tr>
% endfor
</table></div>
</section>
% endif
</body>
</html>

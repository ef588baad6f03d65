insert into pgopt.undo (chain, revision, operation, subject, was)
with now (relation, setting, value, beside) as (
{now}
), known as (
    select was ->> 'relation' as relation, was ->> 'setting' as setting
    from pgopt.undo
    where (chain, revision, operation) = ({key}) and was ->> 'tree' = {tree}
)
select {key}, format('%s (%s)', now.relation, now.setting), jsonb_build_object(
    'tree', {tree}, 'relation', now.relation, 'setting', now.setting, 'value', now.value, 'beside', now.beside
)
from now
-- a partition that was made since an earlier run has what that gave to its siblings
where not exists (
    select from now sibling join known using (relation, setting)
    where sibling.setting = now.setting and sibling.value is not distinct from now.value and sibling.relation <> now.relation
)
on conflict do nothing

perform from {target} t order by {order} for no key update;
update {target} t set ({columns}) = (select v.* from {value}({keys}) v);

#variable_conflict use_column
begin
    return query select {keys}, {results} from {rows} k ({names}) cross join lateral ({value}) v;
end

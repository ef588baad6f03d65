{lock_one}
update {target} t set ({columns}) = ({values}) where {match_one};

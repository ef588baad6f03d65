select r.*, {index}, {along} from (select) one left join ({relation}) r on true

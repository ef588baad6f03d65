begin
    {mine}
    {again}
    return null;
end

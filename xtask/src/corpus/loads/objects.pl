# A log analysis: hashes of hashes, arrays of fields, an index of words.
use strict;
srand(2);
$| = 1;
my (%sessions, %words, @lines);
for my $i (1 .. 60000) {
    my %entry = (host => "10.0." . int(rand 256) . "." . int(rand 256), status => (200, 200, 304, 404)[rand 4],
        bytes => int(rand 50000), path => "/item/" . int(rand 3000), seconds => rand());
    push @{$sessions{$entry{host}}}, \%entry;
    push @lines, join " ", @entry{qw(host status bytes path)};
    $words{$_}++ for split m{[/ .]}, $lines[-1];
}
print "ready\n";
<STDIN>;

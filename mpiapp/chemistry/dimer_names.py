"""Names that the options of `validate` mention; nothing is imported."""

#: the geometry of the reference file, unchanged
REFERENCE = 'reference'
#: the start of the original, for comparison only
ORIGINAL = 'original'
#: no start: energies at the fixed reference geometry
SINGLE_POINT = 'single_point'
#: all names that may be asked for as a start
START_NAMES = (REFERENCE, 'pd_long', 'pd_short', 'pd_diag', 'cross',
               'cross_near', 'sandwich', 'sandwich_off', 't', ORIGINAL,
               SINGLE_POINT)

#: published sets of dimers that are bundled
SETS = ('s22', 's66', 'nbc10')

#: methods that run without any request
USUAL = ('mmff94s', 'student', 'mace-off23-small', 'mace-off23-medium',
         'gfn1', 'gfn2')

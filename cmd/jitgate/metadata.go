package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/jitgate/jitgate/config"
	"github.com/jitgate/jitgate/samlsp"
)

func metadataCommand(std stdio) *cobra.Command {
	var file, idp string
	c := &cobra.Command{
		Use:   "metadata",
		Short: "Print the SP metadata to give to an identity provider",
		Long: `metadata prints the SAML metadata of this service provider for one of its
identity providers. Each has an assertion consumer service (ACS) of its own, so
give each IdP its own metadata. The running gateway serves the same at
/.jitgate/saml/NAME/metadata.`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			if idp == "" {
				return usageError{"jitgate metadata", errors.New("want --idp NAME")}
			}
			cfg, err := config.Load(file)
			if err != nil {
				return configError(err)
			}
			sps, err := serviceProviders(cfg, nil)
			if err != nil {
				return err
			}
			sp, ok := sps[idp]
			if !ok {
				return noIdP(idp, file, sps)
			}
			xml, err := sp.Metadata()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(std.out, strings.TrimSpace(string(xml)))
			return err
		},
	}
	configFlag(c, &file)
	c.Flags().StringVar(&idp, "idp", "", "the `name` of the identity provider in the configuration")
	return c
}

// noIdP is the error for an identity provider that is not in the file.
func noIdP(name, file string, there map[string]*samlsp.SP) error {
	names := slices.Sorted(maps.Keys(there))
	return hintError{fmt.Errorf("no identity provider %q in %q", name, file), "there is: " + strings.Join(names, ", ")}
}

// Runs the client that OpenAPI Generator makes for Go against a server: usage trial URL.
package main

import (
	"context"
	"errors"
	"fmt"
	"ledger"
	"os"
	"reflect"
)

const (
	pastDouble = "9007199254740993"
	max32      = 4294967295
	max64      = "18446744073709551615"
	max128     = "340282366920938463463374607431768211455"
)

var (
	client     *ledger.APIClient
	background = context.Background()
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func equal(found, expected any) {
	if !reflect.DeepEqual(found, expected) {
		panic(fmt.Sprintf("expected %#v, not %#v", expected, found))
	}
}

func account(name string) *ledger.AccountBody {
	body := ledger.NewAccountBody(1)
	body.SetName("go:" + name)
	body.SetAsset("EUR")
	return body
}

func accounts() {
	body := account("alice")
	bounds := ledger.NewBoundsBody()
	bounds.SetMinimum("-" + max64)
	body.SetBounds(*bounds)
	body.SetUserData128(max128)
	body.SetUserData64(max64)
	body.SetUserData32(max32)
	one := ledger.AccountBodyAsOneOrManyAccountBody(body)
	created, response, err := client.AccountsAPI.CreateAccounts(background).OneOrManyAccountBody(one).Execute()
	must(err)
	equal(response.StatusCode, 201)
	equal(created.EventReply.StatusCode, int64(max32))
	list := []ledger.AccountBody{*account("bob"), *account("carol")}
	many := ledger.ArrayOfAccountBodyAsOneOrManyAccountBody(&list)
	batch, _, err := client.AccountsAPI.CreateAccounts(background).OneOrManyAccountBody(many).Execute()
	must(err)
	equal([]int64{batch.BatchReply.Created, batch.BatchReply.Refused}, []int64{2, 0})
	alice, _, err := client.AccountsAPI.GetAccount(background, "go:alice").Execute()
	must(err)
	equal(alice.Id, created.EventReply.Id)
	equal([]any{alice.UserData128, alice.UserData64, alice.UserData32}, []any{max128, max64, int64(max32)})
	equal(alice.Bounds.GetMinimum(), "-"+max64)
}

func pay(amount, key string) (*ledger.OneOrBatch, error) {
	body := ledger.NewTransferBody()
	body.SetDebitAccount("go:alice")
	body.SetCreditAccount("go:bob")
	body.SetAmount(amount)
	body.SetAsset("EUR")
	body.SetCode(1)
	call := client.TransfersAPI.CreateTransfers(background)
	if key != "" {
		call = call.IdempotencyKey(key)
	}
	reply, _, err := call.OneOrManyTransferBody(ledger.TransferBodyAsOneOrManyTransferBody(body)).Execute()
	return reply, err
}

func payments() {
	first, err := pay(pastDouble, "go-1")
	must(err)
	equal(first.EventReply.Status, "created")
	again, err := pay(pastDouble, "go-1")
	must(err)
	equal([]string{again.EventReply.Status, again.EventReply.Id}, []string{"exists", first.EventReply.Id})
	for _, amount := range []string{"1", "2", "3", "4"} {
		_, err := pay(amount, "")
		must(err)
	}
	transfer, _, err := client.TransfersAPI.GetTransfer(background, first.EventReply.Id).Execute()
	must(err)
	equal(transfer.Amount, pastDouble)
}

func pages() {
	amounts := []string{}
	call := client.AccountsAPI.ListAccountTransfers(background, "go:bob").Limit(2)
	for {
		page, _, err := call.Execute()
		must(err)
		for _, transfer := range page.Items {
			amounts = append(amounts, transfer.Amount)
		}
		if page.GetNextCursor() == "" {
			break
		}
		call = call.Cursor(page.GetNextCursor())
	}
	equal(amounts, []string{pastDouble, "1", "2", "3", "4"})
	events, _, err := client.EventsAPI.ListEvents(background).From("start").Limit(1).Execute()
	must(err)
	equal(events.Items[0].Number, int64(0))
	equal(events.Next, events.Items[0].Position)
}

func problem(err error) ledger.Problem {
	var failure *ledger.GenericOpenAPIError
	if !errors.As(err, &failure) {
		panic(fmt.Sprintf("expected a problem, not %v", err))
	}
	return failure.Model().(ledger.Problem)
}

func failures() {
	_, _, err := client.AccountsAPI.GetAccount(background, "go:unknown").Execute()
	missing := problem(err)
	equal([]any{missing.Status, missing.Code}, []any{int32(404), "account_not_found"})
	_, err = pay(max64, "")
	refused := problem(err)
	equal([]any{refused.Status, refused.Code}, []any{int32(422), "balance_out_of_bounds"})
	event := refused.GetEvent()
	equal(event.Status, refused.Code)
}

func main() {
	configuration := ledger.NewConfiguration()
	configuration.Servers = ledger.ServerConfigurations{{URL: os.Args[1]}}
	client = ledger.NewAPIClient(configuration)
	accounts()
	payments()
	pages()
	failures()
}
